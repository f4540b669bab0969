import type { AuditLog, AuditRecord } from './record.ts'

/** For fixtures: records in the order in which they were appended. */
export interface MemoryLog extends AuditLog {
  readonly records: readonly AuditRecord[]
}

export function memoryLog(): MemoryLog {
  const records: AuditRecord[] = []
  return {
    records,
    append: async (record) => {
      records.push(record)
    },
  }
}
