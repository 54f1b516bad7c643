//go:build !linux

package process

import "syscall"

func dieWithTest() *syscall.SysProcAttr { return nil }
