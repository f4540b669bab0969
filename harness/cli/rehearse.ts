/** `attestbed rehearse sev|sev-es|sev-snp|tdx`. */
import { constants } from 'node:fs'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import type { DirectBoot } from '../machine/description.ts'
import type { InputName } from '../measure/documents/document.ts'
import { namedRegisters } from '../measure/sev/vmsa.ts'
import type { HostParameters } from '../platforms/descriptor.ts'
import { readFirmwareManifest } from '../platforms/firmware.ts'
import { launchDifference } from '../platforms/launch-difference.ts'
import { type LaunchOptions, SNP_ACTIVE } from '../platforms/launch-options.ts'
import { platform } from '../platforms/platforms.ts'
import {
  describeLaunch,
  type LaunchRequest,
  predictLaunch,
  rehearseLaunch,
} from '../platforms/rehearsed-launch.ts'
import { type RehearsalDocument, rehearsalDocument, rehearsalPages } from '../rehearsal/document.ts'
import type { Launch } from '../rehearsal/launch.ts'
import { renderRehearsal } from '../report/rehearsal.ts'
import { resolvePaths } from '../system/paths.ts'
import { Store } from '../system/store.ts'
import type { Tools } from '../system/tools.ts'
import { guestFeatureBits, guestFeatureNames } from './guest-features.ts'
import { FILE_LIMITS, hexBytes, memoryBytes, readMaterial, wholeNumber } from './material-files.ts'
import type { RehearsedPlatform } from './measured-platforms.ts'
import { widthOf, writeDocument } from './output.ts'
import { chosenTools, type ToolsFlag } from './tools-flag.ts'

interface RehearseFlags extends ToolsFlag {
  readonly firmware?: string
  readonly vcpus: string
  readonly cpu?: string
  readonly memory: string
  readonly kernel?: string
  readonly initrd?: string
  readonly append?: string
  readonly policy?: string
  readonly hostData?: string
  readonly idBlock?: string
  readonly idAuth?: string
  readonly authorKey?: boolean
  readonly guestFeatures?: string
  readonly mrconfigid?: string
  readonly mrowner?: string
  readonly mrownerconfig?: string
  readonly tdAttributes?: readonly string[]
  readonly recording?: string
  readonly eachPage?: boolean
  readonly json?: boolean
}

const DISAGREE = 1
/** Nothing of the host is in what is measured: no time is spent on looking at it. */
const ANY_HOST: HostParameters = {}

/** Returns 0 where prediction and rehearsal agree, 1 where they do not. Throws HostError where there is no KVM. */
export async function rehearse(id: RehearsedPlatform, flags: RehearseFlags): Promise<number> {
  const tools = await chosenTools(flags)
  const paths = resolvePaths()
  const request = await requestOf(id, flags, { tools, checkout: paths.checkout })
  const predicted = await predictLaunch(request, ANY_HOST)
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-rehearsal-'))
  try {
    const context = {
      ...{ tools, host: ANY_HOST, store: new Store(paths.cache), checkout: paths.checkout },
      tell: (text: string) => process.stderr.write(`${text}\n`),
    }
    const { launch, recording } = await rehearseLaunch(context, request, join(directory, 'recording'))
    if (flags.recording !== undefined) await keep(recording, flags.recording)
    const qemu = tools.version('qemu-system-x86')
    const inputs = { ...(await inputsOf(request, launch)), ...(qemu !== undefined && { qemu }) }
    const pages = flags.eachPage ? 'each' : 'regions'
    const document = rehearsalDocument(launch, { inputs, predicted: predicted.digest, pages })
    write(document, () => launchDifference(predicted.pages, rehearsalPages(launch)), flags)
    return document.agree ? 0 : DISAGREE
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

function write(
  document: RehearsalDocument,
  differenceOf: () => string | undefined,
  { json }: RehearseFlags,
): void {
  if (json) {
    writeDocument(document)
    return
  }
  const shown = { ...document, difference: document.agree ? undefined : differenceOf() }
  process.stdout.write(`${renderRehearsal(shown, widthOf(process.stdout))}\n`)
}

interface Stock {
  readonly tools: Tools
  readonly checkout: string
}

async function requestOf(id: RehearsedPlatform, flags: RehearseFlags, stock: Stock): Promise<LaunchRequest> {
  const firmware = flags.firmware === undefined ? await shippedFirmware(id, stock) : resolve(flags.firmware)
  await readMaterial(firmware, '--firmware', FILE_LIMITS.firmware)
  const directBoot = await directBootOf(flags)
  return {
    platform: platform(id),
    firmware,
    vcpus: countOf(flags.vcpus),
    memoryMiB: memoryBytes(flags.memory) / 2 ** 20,
    ...(directBoot && { directBoot }),
    options: optionsOf(flags),
  }
}

/** Throws UsageError where the manifest has none for the platform. */
async function shippedFirmware(id: RehearsedPlatform, { tools, checkout }: Stock): Promise<string> {
  const builds = await readFirmwareManifest(checkout)
  const build = builds.find(({ load, features }) => load === 'bios' && features.includes(id))
  if (build) return tools.path(build.path)
  throw new UsageError(`ovmf/manifest.yaml has no firmware for ${id}: --firmware is required`, {
    code: 'bad-value',
  })
}

const MOST_VCPUS = 4096n

function countOf(text: string): number {
  const count = wholeNumber(text, '--vcpus')
  if (count >= 1n && count <= MOST_VCPUS) return Number(count)
  throw new UsageError(`--vcpus is ${count}, 1 to ${MOST_VCPUS} are possible`, { code: 'bad-value' })
}

async function directBootOf({ kernel, initrd, append }: RehearseFlags): Promise<DirectBoot | undefined> {
  if (kernel === undefined) {
    if (initrd === undefined && append === undefined) return undefined
    throw new UsageError('--initrd and --append need --kernel, as they do with QEMU', { code: 'bad-value' })
  }
  await readMaterial(kernel, '--kernel', FILE_LIMITS.kernel)
  if (initrd !== undefined) await readMaterial(initrd, '--initrd', FILE_LIMITS.kernel)
  return {
    kernel: resolve(kernel),
    ...(initrd !== undefined && { initrd: resolve(initrd) }),
    ...(append !== undefined && { commandLine: append }),
  }
}

function optionsOf(flags: RehearseFlags): LaunchOptions {
  const hex = (text: string | undefined, flag: string, length: number) =>
    text === undefined ? undefined : hexBytes(text, flag, length)
  const given: { readonly [Name in keyof LaunchOptions]: LaunchOptions[Name] | undefined } = {
    cpu: flags.cpu,
    policy: policyOf(flags.policy),
    hostData: hex(flags.hostData, '--host-data', 32),
    idBlock: idBlockOf(flags),
    guestFeatures:
      flags.guestFeatures === undefined
        ? undefined
        : guestFeatureNames(guestFeatureBits(flags.guestFeatures, SNP_ACTIVE)),
    mrConfigId: hex(flags.mrconfigid, '--mrconfigid', 48),
    mrOwner: hex(flags.mrowner, '--mrowner', 48),
    mrOwnerConfig: hex(flags.mrownerconfig, '--mrownerconfig', 48),
    tdAttributes: flags.tdAttributes,
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as LaunchOptions
}

function policyOf(text: string | undefined): LaunchOptions['policy'] {
  if (text === undefined) return undefined
  return /^[0-9]/.test(text) ? wholeNumber(text, '--policy') : text.split(',').filter((name) => name !== '')
}

function idBlockOf({ idBlock, idAuth, authorKey = false }: RehearseFlags): LaunchOptions['idBlock'] {
  if (idBlock === undefined && idAuth === undefined && !authorKey) return undefined
  if (idBlock === undefined || idAuth === undefined)
    throw new UsageError('--id-block and --id-auth need each other', { code: 'bad-value' })
  return {
    block: Buffer.from(idBlock, 'base64'),
    authentication: Buffer.from(idAuth, 'base64'),
    authorKey,
  }
}

/** CPU model and guest features also where they were not given: they are in every VMSA. */
async function inputsOf(
  request: LaunchRequest,
  { pages }: Launch,
): Promise<Readonly<Partial<Record<InputName, string>>>> {
  const { firmware, vcpus, directBoot } = request
  const vmsa = pages.find(({ type }) => type === 'vmsa')
  const digestOf = async (file: string, flag: string, limit: number) =>
    sha256Hex(await readMaterial(file, flag, limit))
  return {
    firmware: await digestOf(firmware, '--firmware', FILE_LIMITS.firmware),
    vcpus: String(vcpus),
    ...(vmsa && {
      cpu: describeLaunch(request, ANY_HOST).cpu,
      guestFeatures: namedRegisters(vmsa.contents)['sevFeatures'] ?? '0x0',
    }),
    ...(directBoot && { kernel: await digestOf(directBoot.kernel, '--kernel', FILE_LIMITS.kernel) }),
    ...(directBoot?.initrd && { initrd: await digestOf(directBoot.initrd, '--initrd', FILE_LIMITS.kernel) }),
    ...(directBoot?.commandLine !== undefined && { append: directBoot.commandLine }),
  }
}

/** Throws UsageError where the file exists already or cannot be written. */
async function keep(recording: string, file: string): Promise<void> {
  await copyFile(recording, file, constants.COPYFILE_EXCL).catch((cause: NodeJS.ErrnoException) => {
    throw new UsageError(`cannot write --recording ${file}: ${cause.code}`, { code: 'bad-value', cause })
  })
}
