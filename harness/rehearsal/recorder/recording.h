/*
 * The recording: a header, then records, each a header of 32 bytes and its payload; all little-endian. harness/
 * rehearsal/README.md describes it for whoever reads it. Nothing in it depends on the process that was recorded (no
 * address of QEMU's, no descriptor, no time), so that two recordings of the same launch are equal byte by byte.
 */
#ifndef RECORDER_RECORDING_H
#define RECORDER_RECORDING_H

#include "system.h"

#define RECORDING_MAGIC 0x314345524c545441ull /* "ATTLREC1" */

/* More than any firmware has; a table that asks for gigabytes must not fill the disk. */
#define RECORDING_LIMIT (256ull << 20)

enum record_kind {
	RECORD_VM = 1,	    /* code: type of VM */
	RECORD_VCPU = 2,    /* subject: index in order of creation, code: its APIC id */
	RECORD_STATE = 3,   /* subject: index of the vCPU, code: request, payload: what was set */
	RECORD_COMMAND = 4, /* subject: flags, code: command, payload: its fields without addresses */
	RECORD_MEMORY = 5,  /* subject: page type or flags, code: command, gpa, payload: contents */
	RECORD_PLACE = 6,   /* subject: index of a memory record whose gpa was unknown, gpa */
	RECORD_END = 7,	    /* the guest would run now */
};

#define GPA_UNKNOWN (~0ull)

struct record {
	uint32_t kind, subject;
	uint64_t code, gpa, length;
};

void open_recording(const char *path);
/* Thread-safe; ends QEMU where the record cannot be written. */
void write_record(struct record record, const void *payload);
/* Writes the last record and ends QEMU. */
void end_recording(void);

/* barrier.c: from here on the kernel itself kills QEMU where it reaches past the recorder. */
void raise_barrier(void);

#endif
