/** What QEMU says of a VM, for the record. */
import type { Machine } from '../machine/vm.ts'
import type { VmSpec } from './lab-spec.ts'

/** Of one QEMU process: a guest can cause some of them at will. */
const MOST_EVENTS = 500
const LONGEST_DATA = 500

/** The clock of the guest was set: every boot says so, some many times. */
const DULL = new Set(['RTC_CHANGE', 'NIC_RX_FILTER_CHANGED'])

export function recordQmpEvents(
  { qmp }: Pick<Machine, 'qmp'>,
  { vm, emit }: { readonly vm: string; readonly emit: VmSpec['emit'] },
): void {
  let count = 0
  qmp.onEvent(({ name, data }) => {
    if (DULL.has(name)) return
    count += 1
    if (count > MOST_EVENTS) return
    const told = count === MOST_EVENTS ? { more: 'the events after this one are not recorded' } : data
    emit({ type: 'qmp-event', vm, name, data: JSON.stringify(told).slice(0, LONGEST_DATA) })
  })
}
