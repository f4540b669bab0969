/* TDX: what the kernel and the TDX module would have answered. */
#include "launch.h"
#include "recording.h"

static void tdx_region(struct tdx_region *region, uint32_t flags)
{
	record_memory(TDX_INIT_MEM_REGION, flags, region->gpa, region->address, region->pages << 12);
	region->address += region->pages << 12;
	region->gpa += region->pages << 12;
	region->pages = 0;
}

long tdx_operation(struct tdx_cmd *command)
{
	enum { INIT_VM_LENGTH = 256 };
	void *data = (void *)command->data;
	command->hw_error = 0;
	switch (command->id) {
	case TDX_CAPABILITIES: {
		/* Everything: QEMU then asks for what its command line says, not for what this machine could do. */
		struct tdx_capabilities *capabilities = data;
		capabilities->attributes = ~0ull;
		capabilities->xfam = ~0ull;
		capabilities->cpuid.count = 0;
		return 0;
	}
	case TDX_INIT_VM:
		record_command(command->id, command->flags, data, INIT_VM_LENGTH);
		return 0;
	case TDX_INIT_VCPU:
		record_command(command->id, command->flags, NULL, 0);
		return 0;
	case TDX_FINALIZE_VM:
		record_command(command->id, command->flags, NULL, 0);
		launch_finished = 1;
		return 0;
	case TDX_INIT_MEM_REGION:
		if (((struct tdx_region *)data)->pages > RECORDING_LIMIT >> 12)
			return -EFBIG;
		tdx_region(data, command->flags);
		return 0;
	case TDX_GET_CPUID:
		((struct cpuid2 *)data)->count = 0;
		return 0;
	default:
		return -ENOTTY;
	}
}
