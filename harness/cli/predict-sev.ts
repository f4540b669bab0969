/** `attestbed predict sev|sev-es|sev-snp`. */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { sha256Hex } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import type { MeasuredDocument } from '../measure/documents/document.ts'
import { type PredictionOptions, sevDocument, snpDocument } from '../measure/documents/prediction.ts'
import { signIdBlock } from '../measure/id-block/id-block.ts'
import { keyDigest } from '../measure/id-block/keys.ts'
import { cpuSignature } from '../measure/sev/cpu-models.ts'
import { checkKernel } from '../measure/sev/kernel-file.ts'
import { type KernelHashes, kernelHashes } from '../measure/sev/kernel-hashes.ts'
import { predictSev, predictSevEs, sevFirmware } from '../measure/sev/launch.ts'
import type { VmmFlavour } from '../measure/sev/vmsa.ts'
import { snpFirmware, withFirmwareDigest } from '../measure/snp/firmware.ts'
import { predictSnp } from '../measure/snp/launch.ts'
import { SNP_ACTIVE } from '../platforms/launch-options.ts'
import { guestFeatureBits } from './guest-features.ts'
import { FILE_LIMITS, hexBytes, readMaterial, wholeNumber } from './material-files.ts'
import type { SevPlatform } from './measured-platforms.ts'
import { writePrediction } from './output.ts'

interface SevFlags {
  readonly firmware: string
  readonly vcpus?: string
  readonly cpu?: string
  readonly guestFeatures?: string
  readonly vmm?: VmmFlavour
  readonly kernel?: string
  readonly initrd?: string
  readonly append?: string
  readonly firmwareDigest?: string
  readonly idKey?: string
  readonly authorKey?: string
  readonly policy?: string
  readonly familyId?: string
  readonly imageId?: string
  readonly guestSvn?: string
  readonly eachPage?: boolean
  readonly json?: boolean
}

/** Returns the exit code. Throws UsageError and FormatError. */
export async function predictSevFamily(platform: SevPlatform, flags: SevFlags): Promise<number> {
  const file = await readMaterial(flags.firmware, '--firmware', FILE_LIMITS.firmware)
  const { hashes, inputs } = await directBoot(flags)
  const firmwareSha256 = sha256Hex(file)
  const options: PredictionOptions = {
    platform,
    inputs: { firmware: firmwareSha256, ...processorInputs(platform, flags), ...inputs },
    known: { contents: file, sha256: firmwareSha256 },
    pages: flags.eachPage ? 'each' : 'regions',
  }
  const document = await predict({ platform, flags, file, hashes, options })
  writePrediction(document, flags)
  return 0
}

interface Task {
  readonly platform: SevPlatform
  readonly flags: SevFlags
  readonly file: Buffer
  readonly hashes: { readonly kernel?: KernelHashes }
  readonly options: PredictionOptions
}

async function predict({ platform, flags, file, hashes, options }: Task): Promise<MeasuredDocument> {
  if (platform === 'sev') {
    processorsOf(platform, flags)
    return sevDocument(predictSev(sevFirmware(file), hashes), options)
  }
  const processors = { ...processorsOf(platform, flags), ...hashes }
  if (platform === 'sev-es') return sevDocument(predictSevEs(sevFirmware(file), processors), options)
  const parsed = snpFirmware(file)
  const given = flags.firmwareDigest
  const firmware = given ? withFirmwareDigest(parsed, hexBytes(given, '--firmware-digest', 48)) : parsed
  const launch = predictSnp(firmware, processors)
  return {
    ...snpDocument(launch, firmware, options),
    firmwareDigest: firmware.digest().toString('hex'),
    ...(await idBlockOf(flags, launch.launchDigest)),
  }
}

function processorsOf(
  platform: SevPlatform,
  { vcpus = '1', cpu = 'EPYC-v4', guestFeatures = '1', vmm = 'qemu' }: SevFlags,
) {
  return {
    vcpus: Number(wholeNumber(vcpus, '--vcpus')),
    cpu: cpuSignature(cpu),
    guestFeatures: guestFeatureBits(guestFeatures, platform === 'sev-snp' ? SNP_ACTIVE : 0n),
    vmm,
  }
}

function processorInputs(platform: SevPlatform, flags: SevFlags): PredictionOptions['inputs'] {
  if (platform === 'sev') return {}
  const { vcpus, guestFeatures } = processorsOf(platform, flags)
  return {
    vcpus: String(vcpus),
    ...(flags.cpu !== undefined && { cpu: flags.cpu }),
    guestFeatures: `0x${guestFeatures.toString(16)}`,
    ...(flags.vmm !== undefined && { vmm: flags.vmm }),
    ...(flags.firmwareDigest !== undefined && { firmwareDigest: flags.firmwareDigest.toLowerCase() }),
  }
}

interface DirectBoot {
  readonly hashes: { readonly kernel?: KernelHashes }
  readonly inputs: PredictionOptions['inputs']
}

async function directBoot({ kernel, initrd, append }: SevFlags): Promise<DirectBoot> {
  if (kernel === undefined) {
    if (initrd === undefined && append === undefined) return { hashes: {}, inputs: {} }
    throw new UsageError('--initrd and --append need --kernel, as they do with QEMU', { code: 'bad-value' })
  }
  const kernelBytes = await readMaterial(kernel, '--kernel', FILE_LIMITS.kernel)
  warnOfNoPe(kernelBytes, kernel)
  const initrdBytes = initrd ? await readMaterial(initrd, '--initrd', FILE_LIMITS.kernel) : undefined
  const hashes = kernelHashes({ kernel: kernelBytes, initrd: initrdBytes, append })
  return {
    hashes: { kernel: hashes },
    inputs: {
      kernel: Buffer.from(hashes.kernel).toString('hex'),
      ...(initrd !== undefined && { initrd: Buffer.from(hashes.initrd).toString('hex') }),
      ...(append !== undefined && { append }),
    },
  }
}

/** What QEMU takes has a digest, though OVMF starts only PE images. Throws FormatError for what it refuses. */
function warnOfNoPe(kernel: Buffer, path: string): void {
  if (checkKernel(kernel) !== 'pe')
    process.stderr.write(`warning: ${JSON.stringify(path)} is no PE file: OVMF will not start it\n`)
}

async function idBlockOf(flags: SevFlags, launchDigest: Buffer): Promise<object> {
  const { idKey, authorKey, policy } = flags
  if (idKey === undefined) {
    const given = ['authorKey', 'policy', 'familyId', 'imageId'].some((name) => name in flags)
    if (!given) return {}
    throw new UsageError('an ID block needs --id-key', { code: 'bad-value' })
  }
  if (policy === undefined)
    throw new UsageError('an ID block needs --policy: it must equal that of the launch', {
      code: 'bad-value',
    })
  const keys = {
    idKey: await privateKey(idKey, '--id-key'),
    ...(authorKey !== undefined && { authorKey: await privateKey(authorKey, '--author-key') }),
  }
  const { block, auth } = signIdBlock(
    {
      launchDigest,
      policy: wholeNumber(policy, '--policy'),
      guestSvn: Number(wholeNumber(flags.guestSvn ?? '0', '--guest-svn')),
      ...(flags.familyId !== undefined && { familyId: hexBytes(flags.familyId, '--family-id', 16) }),
      ...(flags.imageId !== undefined && { imageId: hexBytes(flags.imageId, '--image-id', 16) }),
    },
    keys,
  )
  return {
    idBlock: block.toString('base64'),
    idAuth: auth.toString('base64'),
    idKeyDigest: keyDigest(keys.idKey).toString('hex'),
    ...(keys.authorKey && { authorKeyDigest: keyDigest(keys.authorKey).toString('hex') }),
  }
}

async function privateKey(path: string, flag: string): Promise<KeyObject> {
  const pem = await readMaterial(path, flag, FILE_LIMITS.key)
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new UsageError(`cannot read ${flag} ${path}: it is no private key in PEM without a passphrase`, {
      code: 'bad-value',
      cause,
    })
  }
}
