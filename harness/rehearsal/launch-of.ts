/** From a recording to its launch. */
import { badLaunch } from './bad-launch.ts'
import type { Launch } from './launch.ts'
import type { Recording } from './recording.ts'
import { sevLaunch } from './sev-launch.ts'
import { snpLaunch } from './snp-launch.ts'
import { tdxLaunch } from './tdx-launch.ts'

/** KVM_X86_*_VM, the argument of KVM_CREATE_VM; 0 where QEMU uses the interface from before there were types. */
const LAUNCH_BY_VM_TYPE: Readonly<Record<number, (recording: Recording) => Launch>> = {
  ...{ 0: sevLaunch, 2: sevLaunch, 3: sevLaunch, 4: snpLaunch, 5: tdxLaunch },
}

/** Throws FormatError for a VM that is not confidential, and for a launch that is not whole. */
export function launchOf(recording: Recording): Launch {
  const read = LAUNCH_BY_VM_TYPE[recording.vmType]
  if (read) return read(recording)
  throw badLaunch('type of VM', `is ${recording.vmType}, 0 and 2 to 5 are known`)
}
