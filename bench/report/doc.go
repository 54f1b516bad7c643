// Package report holds what was measured of two servers, and prints it as one table of ratios. It must never know how a
// figure was taken: it knows only numbers, their units and what is to be reached.
package report
