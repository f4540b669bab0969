/**
 * "As predicted for these materials": what a policy asks of a launch digest, computed from the launch's inputs. This is
 * the only place where predictions and appraisals meet; neither side computes the other's value.
 */
import type { Policy } from '../evidence/policy/schema.ts'
import type { SnpMaterials } from '../evidence/policy/snp.ts'
import type { TdxMaterials } from '../evidence/policy/tdx.ts'
import { cpuSignature } from '../measure/sev/cpu-models.ts'
import { kernelHashes } from '../measure/sev/kernel-hashes.ts'
import { snpFirmware } from '../measure/snp/firmware.ts'
import { predictSnp } from '../measure/snp/launch.ts'
import { predictMrtd } from '../measure/tdx/mrtd.ts'
import { documentLaunchDigest, documentPcrs, documentTdRegisters } from './prediction-documents.ts'

/** Content of a file that the policy names, as it spells it. */
export type ReadMaterial = (name: string) => Promise<Uint8Array>

/**
 * The policy with every `predicted`, and every document of predictions, replaced by the digests it stands for. Throws what
 * `read` throws, FormatError for firmware that cannot be launched like this, and UsageError for options that cannot be and
 * for a document that does not have what is asked of it.
 */
export async function predictReferences(policy: Policy, read: ReadMaterial): Promise<Policy> {
  const { snp, tdx, tpm, ...rest } = policy
  return {
    ...rest,
    ...(snp && { snp: await withLaunchDigests(snp, read) }),
    ...(tdx && { tdx: await withMrtd(await withTdRegisters(tdx, read), read) }),
    ...(tpm && { tpm: await withPcrs(tpm, read) }),
  }
}

async function withLaunchDigests(
  { predicted, ...section }: NonNullable<Policy['snp']>,
  read: ReadMaterial,
): Promise<NonNullable<Policy['snp']>> {
  if (predicted === undefined) return section
  const digests = await Promise.all(predicted.map((materials) => launchDigest(materials, read)))
  return { ...section, launchDigests: [...(section.launchDigests ?? []), ...digests] }
}

async function launchDigest(
  materials: SnpMaterials | { readonly file: string },
  read: ReadMaterial,
): Promise<string> {
  if ('file' in materials) return documentLaunchDigest(materials.file, read)
  const { firmware, kernel, initrd, cmdline, vcpus, cpu, guestFeatures, vmm } = materials
  const hashes =
    kernel === undefined
      ? undefined
      : kernelHashes({
          kernel: await read(kernel),
          initrd: initrd === undefined ? undefined : await read(initrd),
          append: cmdline,
        })
  const launch = predictSnp(snpFirmware(await read(firmware)), {
    vcpus,
    cpu: cpuSignature(cpu),
    ...(guestFeatures !== undefined && { guestFeatures: BigInt(guestFeatures) }),
    ...(vmm !== undefined && { vmm }),
    ...(hashes && { kernel: hashes }),
  })
  return launch.launchDigest.toString('hex')
}

async function withMrtd(
  { predicted, ...section }: NonNullable<Policy['tdx']>,
  read: ReadMaterial,
): Promise<NonNullable<Policy['tdx']>> {
  if (predicted === undefined) return section
  const digests = await Promise.all(
    predicted.map(async ({ firmware, passes }: TdxMaterials) =>
      predictMrtd(await read(firmware), passes).mrtd.toString('hex'),
    ),
  )
  return { ...section, mrtd: [...(section.mrtd ?? []), ...digests] }
}

async function withTdRegisters(
  { predictions, ...section }: NonNullable<Policy['tdx']>,
  read: ReadMaterial,
): Promise<NonNullable<Policy['tdx']>> {
  if (predictions === undefined) return section
  const guests = predictions.map(async (guest) =>
    'file' in guest ? documentTdRegisters(guest, read) : guest,
  )
  return { ...section, predictions: await Promise.all(guests) }
}

async function withPcrs(
  { predictions, ...section }: NonNullable<Policy['tpm']>,
  read: ReadMaterial,
): Promise<NonNullable<Policy['tpm']>> {
  if (predictions === undefined) return section
  const boots = predictions.map(async (boot) => ('file' in boot ? documentPcrs(boot, read) : boot))
  return { ...section, predictions: await Promise.all(boots) }
}
