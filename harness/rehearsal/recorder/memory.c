/* Memory that a launch measures, and where in the guest it lies. */
#include "launch.h"
#include "recording.h"

#define MOST_SLOTS 512
#define MOST_UNPLACED 64

int launch_finished;

static struct memory_region slots[MOST_SLOTS];
static uint32_t memory_records;
/* Memory that was measured before it had a place in the guest. */
static struct {
	uint32_t record;
	uint64_t address, length;
} unplaced[MOST_UNPLACED];
static uint32_t unplaced_count;

static int contains(const struct memory_region *slot, uint64_t address, uint64_t length)
{
	return slot->size >= length && address >= slot->address && address - slot->address <= slot->size - length;
}

uint64_t place_of(uint64_t address, uint64_t length)
{
	for (int i = 0; i < MOST_SLOTS; i++)
		if (slots[i].size && contains(&slots[i], address, length))
			return slots[i].gpa + (address - slots[i].address);
	return GPA_UNKNOWN;
}

void record_command(uint64_t command, uint32_t flags, const void *fields, uint64_t length)
{
	write_record((struct record){RECORD_COMMAND, flags, command, 0, length}, fields);
}

void record_memory(uint64_t command, uint32_t type, uint64_t gpa, uint64_t address, uint64_t length)
{
	memory_records++;
	write_record((struct record){RECORD_MEMORY, type, command, gpa, length}, (const void *)address);
}

void record_unplaced(uint64_t command, uint64_t address, uint64_t length)
{
	if (unplaced_count < MOST_UNPLACED) {
		unplaced[unplaced_count].record = memory_records;
		unplaced[unplaced_count].address = address;
		unplaced[unplaced_count++].length = length;
	}
	record_memory(command, 0, GPA_UNKNOWN, address, length);
}

static void place_measured_memory(const struct memory_region *slot)
{
	for (uint32_t i = 0; i < unplaced_count; i++) {
		if (!unplaced[i].length || !contains(slot, unplaced[i].address, unplaced[i].length))
			continue;
		uint64_t gpa = slot->gpa + (unplaced[i].address - slot->address);
		write_record((struct record){RECORD_PLACE, unplaced[i].record, 0, gpa, 0}, NULL);
		unplaced[i].length = 0;
	}
}

void remember_slot(const struct memory_region *slot)
{
	uint32_t number = slot->slot & 0xffff;
	if (number >= MOST_SLOTS)
		return;
	slots[number] = *slot;
	if (slot->size)
		place_measured_memory(slot);
}
