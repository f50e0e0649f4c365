package emulator

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// ownGroup puts a container in a process group of its own and has the kernel
// kill its first process when the emulator dies.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killLeftOver kills the processes that an earlier life of the emulator left
// behind. They are known by their environment: the folder of their mounted
// files lies in this data directory and names the job run. It returns how many.
func (p *processRunner) killLeftOver(runIDs []string) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	killed := 0
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil { // gone, or another user's
			continue
		}
		for _, id := range runIDs {
			mark := []byte(filesVariable + "=" + filepath.Join(p.dir, id) + "/")
			if bytes.HasPrefix(env, mark) || bytes.Contains(env, append([]byte{0}, mark...)) {
				if syscall.Kill(pid, syscall.SIGKILL) == nil {
					killed++
				}
				break
			}
		}
	}
	for _, id := range runIDs {
		os.RemoveAll(filepath.Join(p.dir, id))
	}
	return killed
}
