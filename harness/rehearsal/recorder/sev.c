/* SEV, SEV-ES and SEV-SNP: what the kernel and the security processor would have answered. */
#include "launch.h"
#include "recording.h"

static long measure(struct sev_cmd *command, struct sev_measure *blob)
{
	enum { FIRMWARE_LENGTH_ERROR = 4, LENGTH = 48 };
	if (blob->length < LENGTH) {
		blob->length = LENGTH;
		command->error = FIRMWARE_LENGTH_ERROR;
		return -ENOSPC;
	}
	/* An HMAC with a key that only the processor and the owner have: QEMU passes it on, nothing depends on it. */
	clear_bytes((void *)blob->address, LENGTH);
	return 0;
}

static void update_data(const struct sev_update_data *update)
{
	uint64_t gpa = place_of(update->address, update->length);
	if (gpa == GPA_UNKNOWN)
		record_unplaced(SEV_LAUNCH_UPDATE_DATA, update->address, update->length);
	else
		record_memory(SEV_LAUNCH_UPDATE_DATA, 0, gpa, update->address, update->length);
}

/* As the kernel does: what is left to do is counted down in the structure itself. */
static void snp_update(struct snp_update *update)
{
	record_memory(SNP_LAUNCH_UPDATE, update->type, update->gfn_start << 12, update->address, update->length);
	update->gfn_start += update->length >> 12;
	update->address += update->length;
	update->length = 0;
}

static void snp_finish(const struct snp_finish *given)
{
	enum { ID_BLOCK_LENGTH = 96, ID_AUTH_LENGTH = 4096 };
	struct snp_finish fields = *given;
	fields.id_block_address = fields.id_auth_address = 0;
	if (given->id_block_enabled) {
		record_memory(SNP_LAUNCH_FINISH, 0, GPA_UNKNOWN, given->id_block_address, ID_BLOCK_LENGTH);
		record_memory(SNP_LAUNCH_FINISH, 1, GPA_UNKNOWN, given->id_auth_address, ID_AUTH_LENGTH);
	}
	record_command(SNP_LAUNCH_FINISH, 0, &fields, sizeof(fields));
	launch_finished = 1;
}

long sev_operation(struct sev_cmd *command)
{
	enum { INIT2_LENGTH = 48, SNP_START_LENGTH = 64 };
	void *data = (void *)command->data;
	command->error = 0;
	switch (command->id) {
	case SEV_INIT:
	case SEV_ES_INIT:
	case SEV_LAUNCH_UPDATE_VMSA:
		record_command(command->id, 0, NULL, 0);
		return 0;
	case SEV_LAUNCH_FINISH:
		record_command(command->id, 0, NULL, 0);
		launch_finished = 1;
		return 0;
	case SEV_INIT2:
		record_command(command->id, 0, data, INIT2_LENGTH);
		return 0;
	case SEV_LAUNCH_START:
		record_command(command->id, 0, &((struct sev_launch_start *)data)->policy, sizeof(uint32_t));
		((struct sev_launch_start *)data)->handle = 1;
		return 0;
	case SEV_LAUNCH_UPDATE_DATA:
		update_data(data);
		return 0;
	case SEV_LAUNCH_MEASURE:
		return measure(command, data);
	case SNP_LAUNCH_START:
		record_command(command->id, 0, data, SNP_START_LENGTH);
		return 0;
	case SNP_LAUNCH_UPDATE:
		snp_update(data);
		return 0;
	case SNP_LAUNCH_FINISH:
		snp_finish(data);
		return 0;
	default:
		return -ENOTTY;
	}
}

/* What QEMU asks of the security processor before a launch: that it is there, and speaks an API that is new enough. */
long processor_command(struct sev_issue_cmd *command)
{
	enum { PLATFORM_STATUS = 1, SNP_PLATFORM_STATUS = 9, API_MAJOR = 1, API_MINOR = 55 };
	struct {
		uint8_t major, minor, state;
		uint8_t rest[29];
	} status = {API_MAJOR, API_MINOR, 1, {0}};
	command->error = 0;
	if (command->cmd == SNP_PLATFORM_STATUS) {
		copy_bytes((void *)command->data, &status, sizeof(status));
		return 0;
	}
	if (command->cmd != PLATFORM_STATUS)
		return -ENOTTY;
	/* u8 major, minor, state; u32 flags (bit 8: SEV-ES, the owner in bit 0); u8 build; u32 guests. */
	status.rest[1] = 1;
	copy_bytes((void *)command->data, &status, 12);
	return 0;
}
