/*
 * The second wall. The first is that QEMU's ioctl() is ours; this one is the kernel's, and holds also for calls that
 * never come by us (inline system calls, a second C library): whoever issues a command of the security processor or
 * of the TDX module, makes a confidential VM or runs a vCPU, dies of SIGSYS before the call is looked at. So a
 * rehearsal cannot launch anything, whatever hardware the machine has.
 */
#include "kvm-abi.h"
#include "recording.h"

#define SECCOMP_SET_MODE_FILTER 1
#define PR_SET_NO_NEW_PRIVS 38
#define ALLOW 0x7fff0000u
#define KILL 0x80000000u
#define AUDIT_ARCH_X86_64 0xc000003eu
#define X32_CALLS 0x40000000u

/* struct seccomp_data: number, architecture, instruction pointer, six arguments of eight bytes. */
#define NUMBER 0
#define ARCHITECTURE 4
#define ARGUMENT(n) (16 + 8 * (n))

/* Classic BPF: load a word; jump where equal, or where at least; return. */
#define LOAD(offset) {0x20, 0, 0, offset}
#define EQUAL(value, yes, no) {0x15, yes, no, value}
#define AT_LEAST(value, yes, no) {0x35, yes, no, value}
#define RETURN(what) {0x06, 0, 0, what}

struct instruction {
	uint16_t code;
	uint8_t yes, no;
	uint32_t value;
};

/* Jumps count the instructions that are left out; 17 kills, 16 allows. */
static const struct instruction program[] = {
	/*  0 */ LOAD(ARCHITECTURE),
	/*  1 */ EQUAL(AUDIT_ARCH_X86_64, 0, 15),
	/*  2 */ LOAD(NUMBER),
	/*  3 */ AT_LEAST(X32_CALLS, 13, 0),
	/*  4 */ EQUAL(SYS_IOCTL, 0, 11),
	/*  5 */ LOAD(ARGUMENT(1)),
	/*  6 */ EQUAL(KVM_MEMORY_ENCRYPT_OP, 10, 0),
	/*  7 */ EQUAL(KVM_MEMORY_ENCRYPT_REG_REGION, 9, 0),
	/*  8 */ EQUAL(KVM_MEMORY_ENCRYPT_UNREG_REGION, 8, 0),
	/*  9 */ EQUAL(SEV_ISSUE_CMD, 7, 0),
	/* 10 */ EQUAL(KVM_RUN, 6, 0),
	/* 11 */ EQUAL(KVM_CREATE_VM, 0, 4),
	/* 12 */ LOAD(ARGUMENT(2)),
	/* 13 */ EQUAL(0, 0, 3),
	/* 14 */ LOAD(ARGUMENT(2) + 4),
	/* 15 */ EQUAL(0, 0, 1),
	/* 16 */ RETURN(ALLOW),
	/* 17 */ RETURN(KILL),
};

void raise_barrier(void)
{
	struct {
		uint16_t length;
		const struct instruction *program;
	} filter = {sizeof(program) / sizeof(program[0]), program};
	/* What an ordinary user must promise before it may restrict itself. */
	if (system_call(SYS_PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0) < 0 ||
	    system_call(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, (long)&filter, 0) < 0)
		fail("the kernel refuses the filter that keeps QEMU from real SEV and TDX hardware");
}
