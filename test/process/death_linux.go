package process

import "syscall"

// dieWithTest has the kernel end a process when the test's has ended, in whatever way.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
