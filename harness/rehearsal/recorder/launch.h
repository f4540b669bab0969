/* The commands of a launch, answered here and written down; shared by what answers for SEV and for TDX. */
#ifndef RECORDER_LAUNCH_H
#define RECORDER_LAUNCH_H

#include "kvm-abi.h"

/* The digest is final: what vCPUs are set to from here on, each in its own thread, is no part of the launch. */
extern int launch_finished;

/* sev.c, tdx.c: what ioctl(2) returns; a command that is not known has no answer, and QEMU says which it was. */
long sev_operation(struct sev_cmd *command);
long processor_command(struct sev_issue_cmd *command);
long tdx_operation(struct tdx_cmd *command);

/* memory.c */
void remember_slot(const struct memory_region *slot);
uint64_t place_of(uint64_t address, uint64_t length);
void record_command(uint64_t command, uint32_t flags, const void *fields, uint64_t length);
void record_memory(uint64_t command, uint32_t type, uint64_t gpa, uint64_t address, uint64_t length);
/* Of memory that has no place in the guest yet; the place follows when QEMU maps it. */
void record_unplaced(uint64_t command, uint64_t address, uint64_t length);

#endif
