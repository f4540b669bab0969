/*
 * The part of the kernel's interface that the recorder stands in for, spelled out here: the headers of the machine
 * that compiles it may know neither SEV-SNP nor TDX. Sources: Documentation/virt/kvm/api.rst,
 * Documentation/virt/kvm/x86/amd-memory-encryption.rst and intel-tdx.rst, include/uapi/linux/psp-sev.h.
 */
#ifndef RECORDER_KVM_ABI_H
#define RECORDER_KVM_ABI_H

#include <stdint.h>

/* Request codes of ioctl(2) are compared whole: 0xa3 alone is both KVM_ENABLE_CAP and KVM_GET_TSC_KHZ. */
#define KVM_CREATE_VM 0x0000ae01u
#define KVM_CHECK_EXTENSION 0x0000ae03u
#define KVM_CREATE_VCPU 0x0000ae41u
#define KVM_RUN 0x0000ae80u
#define KVM_SET_USER_MEMORY_REGION 0x4020ae46u
#define KVM_SET_USER_MEMORY_REGION2 0x40a0ae49u
#define KVM_SET_REGS 0x4090ae82u
#define KVM_SET_SREGS 0x4138ae84u
#define KVM_SET_MSRS 0x4008ae89u
#define KVM_SET_FPU 0x41a0ae8du
#define KVM_SET_DEBUGREGS 0x4080aea2u
#define KVM_SET_XSAVE 0x5000aea5u
#define KVM_SET_XCRS 0x4188aea7u
#define KVM_SET_SREGS2 0x4140aecdu
#define KVM_ENABLE_CAP 0x4068aea3u
#define KVM_MEMORY_ENCRYPT_OP 0xc008aebau
#define KVM_MEMORY_ENCRYPT_REG_REGION 0x8010aebbu
#define KVM_MEMORY_ENCRYPT_UNREG_REGION 0x8010aebcu
#define KVM_SET_MEMORY_ATTRIBUTES 0x4020aed2u
#define KVM_CREATE_GUEST_MEMFD 0xc040aed4u
#define KVM_GET_DEVICE_ATTR 0x4018aee2u
#define KVM_HAS_DEVICE_ATTR 0x4018aee3u
#define SEV_ISSUE_CMD 0xc0105300u

#define KVM_CAP_EXIT_HYPERCALL 201
#define KVM_CAP_USER_MEMORY2 231
#define KVM_CAP_MEMORY_ATTRIBUTES 233
#define KVM_CAP_GUEST_MEMFD 234
#define KVM_CAP_VM_TYPES 235
#define KVM_CAP_PRE_FAULT_MEMORY 236

/* Types of VM: default, software-protected, SEV, SEV-ES, SNP, TDX. */
#define ALL_VM_TYPES 0x3f
#define KVM_X86_TDX_VM 5
#define MAP_GPA_RANGE_BIT (1 << 12)
#define PRIVATE_ATTRIBUTE (1 << 3)
#define KVM_MEM_GUEST_MEMFD (1u << 2)

#define KVM_X86_GRP_SEV 1
#define KVM_X86_SEV_VMSA_FEATURES 0

enum sev_command {
	SEV_INIT = 0,
	SEV_ES_INIT = 1,
	SEV_LAUNCH_START = 2,
	SEV_LAUNCH_UPDATE_DATA = 3,
	SEV_LAUNCH_UPDATE_VMSA = 4,
	SEV_LAUNCH_MEASURE = 6,
	SEV_LAUNCH_FINISH = 7,
	SEV_INIT2 = 22,
	SNP_LAUNCH_START = 100,
	SNP_LAUNCH_UPDATE = 101,
	SNP_LAUNCH_FINISH = 102,
};

enum tdx_command {
	TDX_CAPABILITIES = 0,
	TDX_INIT_VM = 1,
	TDX_INIT_VCPU = 2,
	TDX_INIT_MEM_REGION = 3,
	TDX_FINALIZE_VM = 4,
	TDX_GET_CPUID = 5,
};

struct sev_cmd {
	uint32_t id, pad;
	uint64_t data;
	uint32_t error, sev_fd;
};

struct sev_issue_cmd {
	uint32_t cmd;
	uint64_t data;
	uint32_t error;
} __attribute__((packed));

struct sev_launch_start {
	uint32_t handle, policy;
};

struct sev_update_data {
	uint64_t address;
	uint32_t length;
};

struct sev_measure {
	uint64_t address;
	uint32_t length;
};

struct snp_update {
	uint64_t gfn_start, address, length;
	uint8_t type, pad0;
	uint16_t flags;
	uint32_t pad1;
	uint64_t pad2[4];
};

struct snp_finish {
	uint64_t id_block_address, id_auth_address;
	uint8_t id_block_enabled, auth_key_enabled, vcek_disabled;
	uint8_t host_data[32];
	uint8_t pad0[3];
	uint16_t flags;
	uint64_t pad1[4];
};

struct tdx_cmd {
	uint32_t id, flags;
	uint64_t data, hw_error;
};

struct cpuid2 {
	uint32_t count, padding;
};

struct tdx_capabilities {
	uint64_t attributes, xfam, reserved[254];
	struct cpuid2 cpuid;
};

struct tdx_region {
	uint64_t address, gpa, pages;
};

struct memory_region {
	uint32_t slot, flags;
	uint64_t gpa, size, address;
};

struct guest_memfd {
	uint64_t size, flags, reserved[6];
};

struct device_attr {
	uint32_t flags, group;
	uint64_t attr, address;
};

struct enable_cap {
	uint32_t cap, flags;
	uint64_t args[4];
};

struct msrs {
	uint32_t count, pad;
};

#endif
