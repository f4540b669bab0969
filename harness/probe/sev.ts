/** Facts of an AMD host: the security processor, what kvm_amd enables, and how many guests have room. */

import { capacityFinding } from './capacity.ts'
import { isAmd } from './cpu.ts'
import { type FactProbe, type Finding, no, yes } from './finding.ts'
import { groupHint } from './kvm.ts'
import { lookAtParameter } from './module-parameter.ts'
import type { Sources } from './sources.ts'

const DEVICE = '/dev/sev'
const ASID_HINT =
  "SEV and SEV-ES/SNP share the ASIDs: move the firmware setup's 'SEV-ES ASID space limit' (minimum SEV non-ES ASID)"

export const sevProbes: readonly FactProbe[] = [
  { id: 'sev-device', look: lookAtDevice },
  parameterProbe('kvm-amd-sev', 'sev', 'Load kvm_amd with sev=1 (kernel command line: kvm_amd.sev=1)'),
  parameterProbe(
    'kvm-amd-sev-es',
    'sev_es',
    'Load kvm_amd with sev_es=1 (kernel command line: kvm_amd.sev_es=1)',
  ),
  parameterProbe(
    'kvm-amd-sev-snp',
    'sev_snp',
    'Needs Linux 6.11 or later with kvm_amd.sev_snp=1, SNP, RMP coverage and the IOMMU on in the firmware setup',
  ),
  { id: 'sev-asids', look: (sources) => capacityFinding(sources, 'sev', ASID_HINT) },
  { id: 'sev-es-asids', look: (sources) => capacityFinding(sources, 'sev_es', ASID_HINT) },
]

function parameterProbe(id: string, parameter: string, hint: string): FactProbe {
  return {
    id,
    look: (sources) => lookAtParameter(sources, { module: 'kvm_amd', parameter, hint, forCpu: isAmd }),
  }
}

async function lookAtDevice(sources: Sources): Promise<Finding> {
  const attempt = await sources.host.tryOpen(DEVICE)
  if (attempt === 'ok') return yes(`${DEVICE} opened for reading and writing`)
  const proof = `opening ${DEVICE}: ${attempt}`
  const cpu = await sources.cpu()
  if (attempt === 'EACCES') return no(proof, await groupHint(sources, DEVICE))
  if (attempt === 'EPERM')
    return no(proof, `The container forbids the device: start it with --device ${DEVICE}`)
  if (attempt === 'ENOENT' && cpu.flags.has('sev'))
    return no(proof, 'Load the security processor: modprobe ccp')
  return no(proof)
}
