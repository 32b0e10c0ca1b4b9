package supervise

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPID reads si_pid, which the kernel puts first in the union that follows the three leading ints, aligned as
// the union's widest member.
func siginfoPID(info *unix.Siginfo) int {
	const words = 3
	align := unsafe.Sizeof(uintptr(0))
	offset := (words*unsafe.Sizeof(int32(0)) + align - 1) / align * align
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
