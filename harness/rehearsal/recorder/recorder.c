/*
 * Stands between an unmodified QEMU and KVM: QEMU's own launch code runs, what it would have measured is written down,
 * and the guest never runs. Loaded with LD_PRELOAD. KVM is real (VMs, vCPUs, registers), everything that needs SEV or
 * TDX is answered here and never reaches the kernel (see barrier.c for what else makes sure of that).
 *
 * QEMU is told to use devices by names below /proc that no machine has. Only the recorder knows what they mean, so a
 * QEMU that it does not stand before cannot begin a launch at all.
 */
#include <stdarg.h>

#include "kvm-abi.h"
#include "launch.h"
#include "recording.h"

#define KVM_NAME "/proc/attestbed-recorder/kvm"
#define SEV_NAME "/proc/attestbed-recorder/sev"

#define MOST_DESCRIPTORS 65536

static int recording;
static int kvm_descriptor = -1, sev_descriptor = -1;
static long vm_type = -1;
static uint32_t vcpus;
/* Index + 1 of the vCPU that a descriptor stands for; 0 for none. */
static uint16_t vcpu_of[MOST_DESCRIPTORS];

static long pass(int descriptor, unsigned long request, void *argument)
{
	return system_call(SYS_IOCTL, descriptor, (long)request, (long)argument, 0);
}

static void record_state(uint16_t vcpu, unsigned request, const void *state, uint64_t length)
{
	write_record((struct record){RECORD_STATE, (uint32_t)vcpu - 1, request, 0, length}, state);
}

/* -- KVM --------------------------------------------------------------------------------------------------------- */

static long check_extension(int descriptor, unsigned long request, void *argument)
{
	switch ((long)argument) {
	case KVM_CAP_VM_TYPES:
		return ALL_VM_TYPES;
	case KVM_CAP_GUEST_MEMFD:
	case KVM_CAP_USER_MEMORY2:
		return 1;
	case KVM_CAP_MEMORY_ATTRIBUTES:
		return PRIVATE_ATTRIBUTE;
	case KVM_CAP_EXIT_HYPERCALL:
		return MAP_GPA_RANGE_BIT;
	case KVM_CAP_PRE_FAULT_MEMORY:
		return 0;
	default:
		return pass(descriptor, request, argument);
	}
}

static long create_vm(int descriptor, unsigned long request, long type)
{
	long created = pass(descriptor, request, NULL);
	if (created < 0)
		return created;
	vm_type = type;
	write_record((struct record){RECORD_VM, 0, (uint64_t)type, 0, 0}, NULL);
	return created;
}

static long create_vcpu(int descriptor, unsigned long request, void *id)
{
	long created = pass(descriptor, request, id);
	if (created < 0)
		return created;
	if (created >= MOST_DESCRIPTORS)
		fail("QEMU has more open files than the recorder can follow");
	write_record((struct record){RECORD_VCPU, vcpus, (uint64_t)id, 0, 0}, NULL);
	vcpu_of[created] = (uint16_t)++vcpus;
	return created;
}

/* Memory that only the guest could read becomes ordinary memory: nothing runs that would notice. */
static long set_memory_region(int descriptor, const struct memory_region *given)
{
	struct memory_region region = *given;
	region.flags &= ~KVM_MEM_GUEST_MEMFD;
	long result = pass(descriptor, KVM_SET_USER_MEMORY_REGION, &region);
	if (result >= 0)
		remember_slot(&region);
	return result;
}

/* Length of what sets a part of a vCPU's state, 0 for other requests. */
static uint64_t state_length(unsigned request)
{
	switch (request) {
	case KVM_SET_REGS:
	case KVM_SET_SREGS:
	case KVM_SET_SREGS2:
	case KVM_SET_FPU:
	case KVM_SET_XSAVE:
	case KVM_SET_XCRS:
	case KVM_SET_DEBUGREGS:
		/* The request holds the size of its structure in bits 16 to 29. */
		return (request >> 16) & 0x3fff;
	default:
		return 0;
	}
}

static long set_state(int descriptor, unsigned request, void *state)
{
	long result = pass(descriptor, request, state);
	uint16_t vcpu = descriptor >= 0 && descriptor < MOST_DESCRIPTORS ? vcpu_of[descriptor] : 0;
	if (result < 0 || !vcpu || launch_finished)
		return result;
	if (request == KVM_SET_MSRS)
		record_state(vcpu, request, state, sizeof(struct msrs) + 16 * (uint64_t)result);
	else
		record_state(vcpu, request, state, state_length(request));
	return result;
}

static long device_attribute(int descriptor, unsigned request, struct device_attr *attribute)
{
	if (descriptor != kvm_descriptor || attribute->group != KVM_X86_GRP_SEV)
		return pass(descriptor, request, attribute);
	if (attribute->attr != KVM_X86_SEV_VMSA_FEATURES)
		return -EINVAL;
	if (request == KVM_GET_DEVICE_ATTR)
		*(uint64_t *)attribute->address = ~0ull;
	return 0;
}

static long enable_capability(int descriptor, unsigned long request, struct enable_cap *capability)
{
	return capability->cap == KVM_CAP_EXIT_HYPERCALL ? 0 : pass(descriptor, request, capability);
}

static long guest_memfd(const struct guest_memfd *wanted)
{
	long made = system_call(SYS_MEMFD_CREATE, (long)"guest", 0, 0, 0);
	if (made < 0)
		return made;
	long sized = system_call(SYS_FTRUNCATE, made, (long)wanted->size, 0, 0);
	return sized < 0 ? sized : made;
}

static long answer(int descriptor, unsigned long wide_request, void *argument)
{
	/* The kernel looks at 32 bits, QEMU passes some of them with the sign extended. */
	unsigned request = (unsigned)wide_request;
	if (descriptor == sev_descriptor && sev_descriptor >= 0)
		return request == SEV_ISSUE_CMD ? processor_command(argument) : -EINVAL;
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return check_extension(descriptor, request, argument);
	case KVM_CREATE_VM:
		return create_vm(descriptor, request, (long)argument);
	case KVM_CREATE_VCPU:
		return create_vcpu(descriptor, request, argument);
	case KVM_CREATE_GUEST_MEMFD:
		return guest_memfd(argument);
	case KVM_SET_USER_MEMORY_REGION:
	case KVM_SET_USER_MEMORY_REGION2:
		return set_memory_region(descriptor, argument);
	case KVM_MEMORY_ENCRYPT_OP:
		return vm_type == KVM_X86_TDX_VM ? tdx_operation(argument) : sev_operation(argument);
	case KVM_MEMORY_ENCRYPT_REG_REGION:
	case KVM_MEMORY_ENCRYPT_UNREG_REGION:
	case KVM_SET_MEMORY_ATTRIBUTES:
		return 0;
	case KVM_GET_DEVICE_ATTR:
	case KVM_HAS_DEVICE_ATTR:
		return device_attribute(descriptor, request, argument);
	case KVM_ENABLE_CAP:
		return enable_capability(descriptor, request, argument);
	case KVM_RUN:
		end_recording();
		return -EINVAL;
	case KVM_SET_MSRS:
		return set_state(descriptor, request, argument);
	default:
		return state_length(request) ? set_state(descriptor, request, argument)
					     : pass(descriptor, request, argument);
	}
}

/* -- What QEMU calls ---------------------------------------------------------------------------------------------- */

#define EXPORT __attribute__((visibility("default")))

EXPORT extern int *__errno_location(void);

static int result_of(long value)
{
	if (value >= 0)
		return (int)value;
	*__errno_location() = (int)-value;
	return -1;
}

EXPORT int ioctl(int descriptor, unsigned long request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	return result_of(recording ? answer(descriptor, request, argument) : pass(descriptor, request, argument));
}

static int open_for_qemu(int directory, const char *path, int flags, int mode)
{
	if (recording && same_text(path, KVM_NAME))
		return kvm_descriptor = result_of(system_call(SYS_OPENAT, AT_FDCWD, (long)"/dev/kvm", flags, mode));
	if (recording && same_text(path, SEV_NAME))
		return sev_descriptor = result_of(system_call(SYS_MEMFD_CREATE, (long)"sev", 0, 0, 0));
	if (recording && same_text(path, "/dev/sev"))
		return result_of(-EPERM);
	return result_of(system_call(SYS_OPENAT, directory, (long)path, flags, mode));
}

#define MODE_ARGUMENT(flags)                                                                                           \
	va_list arguments;                                                                                             \
	va_start(arguments, flags);                                                                                    \
	int mode = va_arg(arguments, int);                                                                             \
	va_end(arguments)

EXPORT int open(const char *path, int flags, ...)
{
	MODE_ARGUMENT(flags);
	return open_for_qemu(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int directory, const char *path, int flags, ...)
{
	MODE_ARGUMENT(flags);
	return open_for_qemu(directory, path, flags, mode);
}

/* Names under which glibc's headers may have compiled the same calls. */
EXPORT int open64(const char *path, int flags, ...) __attribute__((alias("open")));
EXPORT int openat64(int directory, const char *path, int flags, ...) __attribute__((alias("openat")));

EXPORT int __open_2(const char *path, int flags)
{
	return open_for_qemu(AT_FDCWD, path, flags, 0);
}

EXPORT int __open64_2(const char *path, int flags) __attribute__((alias("__open_2")));

/* glibc hands every initializer what main() gets. */
__attribute__((constructor)) static void begin(int count, char **arguments, char **environment)
{
	static const char name[] = "ATTESTBED_RECORDING=";
	(void)count, (void)arguments;
	for (char **each = environment; *each; each++) {
		size_t i = 0;
		while (name[i] && (*each)[i] == name[i])
			i++;
		if (name[i])
			continue;
		open_recording(*each + i);
		raise_barrier();
		recording = 1;
		return;
	}
}
