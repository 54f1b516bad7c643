// Package stories runs what users do with the server, story by story: discovery, subscriptions, balancing, coordination,
// locks, queues, monitoring and election. The scripts beside it are the stories that curl alone can tell; the tests are
// those of v3, and those where many clients act at once. run.sh runs all and prints a sheet of the results.
package stories
