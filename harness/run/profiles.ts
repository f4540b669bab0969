/** A UKI with several profiles: which one a VM boots, and which of them the signature of PCR 11 covers. */
import { readFile, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { FormatError, UsageError } from '../base/errors.ts'
import { addBootEntry, setBootNext } from '../formats/boot-configuration.ts'
import { ucs2Bytes } from '../formats/ucs2.ts'
import { parseUki, ukiSection } from '../formats/uki.ts'
import { pcrPolicyDigest } from '../measure/tpm/pcr-policy.ts'
import { predictBoot } from './boot-prediction.ts'
import { espOf } from './slots.ts'
import type { ScenarioVm } from './vm.ts'

/** The register that the sections of a UKI are measured into. */
const UKI_PCR = 11
const PHASES = ['enter-initrd']

/**
 * Has the next boot, and no other, be one of a profile, counted from 0: BootNext names an entry that starts the UKI with
 * `@N`, as systemd-boot does. The VM must be off.
 */
export async function chooseProfile(vm: ScenarioVm, profile: number): Promise<void> {
  const { uki } = vm.disk
  if (uki === undefined || vm.firmware.kind !== 'pflash')
    throw new UsageError('a profile is chosen for a UKI of ours, by firmware with a variable store', {
      code: 'bad-scenario',
    })
  const { variables } = vm.firmware
  const { partition } = await espOf(vm)
  const entry = addBootEntry(await readFile(variables), {
    ...{ description: `profile ${profile}`, file: uki.path, partition },
    optionalData: ucs2Bytes(`@${profile}`),
  })
  await writeFile(variables, setBootNext(entry.image, entry.number))
}

/** systemd-measure(1), "sign". */
const signatureSchema = z.record(
  z.string(),
  z.array(z.object({ pcrs: z.array(z.number()), pol: z.string() })),
)

/**
 * For each profile: how often a signature that the stub hands on with it covers PCR 11 as predicted for one of the
 * profiles, in the order of the profiles. Throws FormatError where a signature is malformed.
 */
export async function signedProfiles(vm: ScenarioVm): Promise<readonly (readonly number[])[]> {
  const file = vm.disk.uki?.current().file
  if (file === undefined) throw new UsageError('the VM has no UKI of ours', { code: 'bad-scenario' })
  const image = await readFile(file)
  const profiles = Array.from({ length: parseUki(image).profiles }, (_, profile) => profile)
  const policies = await Promise.all(profiles.map((profile) => policyOf(vm, profile)))
  return profiles.map((profile) => {
    const signed = signedPolicies(ukiSection(parseUki(image, { profile }), '.pcrsig'))
    return policies.map((policy) => signed.filter((each) => each === policy).length)
  })
}

async function policyOf(vm: ScenarioVm, profile: number): Promise<string> {
  const register = (await predictBoot(vm, { profile, phases: PHASES })).registers('sha256')[UKI_PCR]
  return register?.known ? pcrPolicyDigest(UKI_PCR, register.value).toString('hex') : 'not known'
}

function signedPolicies(section: Uint8Array | undefined): readonly string[] {
  if (section === undefined) return []
  const text = Buffer.from(section).toString('utf8').replace(/\0+$/, '')
  try {
    const { sha256 = [] } = signatureSchema.parse(JSON.parse(text))
    return sha256.filter(({ pcrs }) => pcrs.join() === String(UKI_PCR)).map(({ pol }) => pol)
  } catch (cause) {
    throw new FormatError('cannot read the signature of PCR 11 in a UKI', {
      ...{ code: 'bad-value', field: '.pcrsig', offset: 0, cause },
    })
  }
}
