#include "recording.h"

static int file = -1;
static uint64_t written;
static volatile char busy;

static void write_all(const void *bytes, uint64_t length)
{
	const char *next = bytes;
	while (length > 0) {
		long count = system_call(SYS_WRITE, file, (long)next, (long)length, 0);
		if (count == -EINTR)
			continue;
		if (count == -EFAULT)
			fail("QEMU passed memory that cannot be read");
		if (count <= 0)
			fail(count == -ENOSPC ? "No space left on device" : "the recording cannot be written");
		next += count;
		length -= (uint64_t)count;
	}
}

void open_recording(const char *path)
{
	static const struct {
		uint64_t magic;
		uint32_t version, record_size;
	} header = {RECORDING_MAGIC, 1, sizeof(struct record)};
	long opened = system_call(SYS_OPENAT, AT_FDCWD, (long)path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (opened < 0)
		fail("the recording cannot be created");
	file = (int)opened;
	write_all(&header, sizeof(header));
}

/* vCPUs have a thread each; what they set is written whole, one after the other. */
static void lock(void)
{
	while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE))
		system_call(SYS_SCHED_YIELD, 0, 0, 0, 0);
}

void write_record(struct record record, const void *payload)
{
	lock();
	written += sizeof(record) + record.length;
	if (record.length > RECORDING_LIMIT || written > RECORDING_LIMIT)
		fail("the firmware asks for more measured memory than a recording may hold (256 MiB)");
	write_all(&record, sizeof(record));
	write_all(payload, record.length);
	__atomic_clear(&busy, __ATOMIC_RELEASE);
}

void end_recording(void)
{
	static const struct record end = {RECORD_END, 0, 0, 0, 0};
	/* Never unlocked: every vCPU comes here to run, and only the first may end the recording. */
	lock();
	write_all(&end, sizeof(end));
	system_call(SYS_EXIT_GROUP, 0, 0, 0, 0);
}
