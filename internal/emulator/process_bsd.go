//go:build unix && !linux

package emulator

import "syscall"

// ownGroup puts a container in a process group of its own. Only Linux kills it
// when the emulator dies.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
