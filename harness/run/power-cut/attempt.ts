/** One boot of the disks that a power cut left behind. */
import { TimeoutError } from '../../base/errors.ts'
import { isOwnEnd } from '../own-ends.ts'
import type { ScenarioVm } from '../vm.ts'

export interface Attempt {
  /** `up`: a slot's userland is ready, its root opened by the vTPM, with nothing typed. */
  readonly came: 'up' | 'down'
  /** The slot whose initrd ran last; `none` where none did. */
  readonly slot: string
  /** Why it is down, safe to print, the same for the same fault; empty where it is up. */
  readonly why: string
  /** It was not ready at its deadline: by the guest's fault or by the host's. */
  readonly late?: TimeoutError
}

/** Boots a VM that was never on, and cuts its power. Throws what is no doing of the guest: it says nothing of its disks. */
export async function bootOnce(vm: ScenarioVm, deadlineMs: number): Promise<Attempt> {
  const boot = await vm.boot()
  const fault = await boot.settle({ deadlineMs }).then(
    () => ({ why: '' }),
    (error: unknown) => faultOf(error, vm.name),
  )
  await vm.cut()
  const last = vm.timeline.boots.findLast(({ slot }) => slot !== 'none')
  const open = fault.why === '' && last?.unlocked === true && vm.typedBytes === 0
  const why = open ? '' : fault.why || 'the root was not opened by the vTPM'
  return { ...fault, why, came: open ? 'up' : 'down', slot: last?.slot ?? 'none' }
}

function faultOf(error: unknown, name: string): Pick<Attempt, 'why' | 'late'> {
  if (error instanceof TimeoutError && error.code === 'boot')
    return { why: sameAgain(error, name), late: error }
  if (isOwnEnd(error)) return { why: sameAgain(error, name) }
  throw error
}

/** The first line, without what differs from boot to boot: the VM's name, the kernel's clock, how long was waited. */
function sameAgain({ message }: Error, name: string): string {
  const [line = ''] = message.split('\n')
  const named = line.replaceAll(`${name} `, '').replaceAll(/\[ *\d{1,9}\.\d{1,9}\] ?/g, '')
  return named.replaceAll(/ for \d{1,9} s\b/g, ' for some time')
}
