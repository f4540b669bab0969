/** `attestbed predict tpm`: materials from files, the registers as a table or a document. */
import { basename } from 'node:path'
import { type DigestAlgorithm, sha256Hex } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import { inFile } from '../base/in-file.ts'
import { authenticodeParts } from '../formats/authenticode.ts'
import { parseVariableStore } from '../formats/variable-store.ts'
import type { InputName, MeasuredDocument } from '../measure/documents/document.ts'
import { type TpmDocument, tpmDocument } from '../measure/documents/tpm-prediction.ts'
import { predictTpm, type TpmBoot } from '../measure/tpm/boot.ts'
import { parseFirmwareCode } from '../measure/tpm/firmware-code.ts'
import { paletteFor } from '../report/palette.ts'
import { FILE_LIMITS, memoryBytes, readMaterial, wholeNumber } from './material-files.ts'
import { acpiOf, devicesOf, diskStart, machineInputs } from './measured-files.ts'
import { eventLine, writeDocument } from './output.ts'

/** The flags as commander hands them over. */
export interface TpmFlags {
  readonly uki: string
  readonly firmware: string
  readonly vars: string
  readonly disk?: string
  readonly loader?: string
  readonly loaderConf?: string
  readonly shim?: string
  readonly memory?: string
  readonly vcpus: string
  readonly bootSlot?: readonly string[]
  readonly acpi?: string
  readonly smbios?: string
  readonly addon?: readonly string[]
  readonly globalAddon?: readonly string[]
  readonly credential?: readonly string[]
  readonly sysext?: readonly string[]
  readonly confext?: readonly string[]
  readonly bootSecretMixin?: string
  readonly loadOptions?: string
  readonly smbiosCommandLine?: string
  readonly profile: string
  readonly phase?: readonly string[]
  readonly bank?: readonly DigestAlgorithm[]
  readonly json?: boolean
}

const MOST_VCPUS = 4096
const MIB = 2 ** 20

/** Returns the exit code. Throws UsageError and FormatError. */
export async function predictTpmBoot(flags: TpmFlags): Promise<number> {
  const [firmware, variables, uki] = await Promise.all([
    readMaterial(flags.firmware, '--firmware', FILE_LIMITS.firmware),
    readMaterial(flags.vars, '--vars', FILE_LIMITS.firmware),
    readMaterial(flags.uki, '--uki', FILE_LIMITS.kernel),
  ])
  checkFiles(flags, { variables, uki })
  const disk = flags.disk === undefined ? undefined : await diskStart(flags.disk)
  const machine = flags.memory === undefined ? undefined : machineOf(flags, flags.memory)
  const bootDevices = flags.bootSlot && devicesOf(flags.bootSlot, disk)
  const tables = await tablesOf(flags)
  const files = await espFilesOf(flags)
  const programs = await bootProgramsOf(flags)
  const prediction = predictTpm({
    ...{ firmware: parseFirmwareCode(firmware), variables, uki },
    ...(disk && { disk }),
    ...(machine && { machine }),
    ...(bootDevices && { bootDevices }),
    ...tables,
    ...files,
    ...programs,
    ...(flags.loadOptions !== undefined && { loadOptions: flags.loadOptions }),
    ...(flags.smbiosCommandLine !== undefined && { smbiosCommandLine: flags.smbiosCommandLine }),
    profile: Number(wholeNumber(flags.profile, '--profile')),
    phases: flags.phase ?? [],
  })
  const document = tpmDocument(prediction, {
    banks: flags.bank ?? ['sha256'],
    inputs: {
      ...{ firmware: sha256Hex(firmware), variables: sha256Hex(variables), uki: sha256Hex(uki) },
      ...(machine && { memory: String(machine.memoryMiB * MIB), vcpus: flags.vcpus }),
      ...machineInputs({ disk, bootSlot: flags.bootSlot, acpi: tables.acpi }),
      ...bootInputs(flags, tables, files),
      ...programInputs(programs),
    },
  })
  if (flags.json) writeDocument(document)
  else process.stdout.write(readable(document))
  return 0
}

/** The prediction says where bytes are wrong, and knows of no files. Throws FormatError that names one. */
function checkFiles(
  { vars, uki: file }: TpmFlags,
  { variables, uki }: { readonly variables: Uint8Array; readonly uki: Uint8Array },
): void {
  inFile({ what: 'variable store', file: vars }, () => parseVariableStore(variables))
  inFile({ what: 'UKI', file }, () => authenticodeParts(uki))
}

function machineOf({ vcpus }: TpmFlags, memory: string): { memoryMiB: number; vcpus: number } {
  const count = wholeNumber(vcpus, '--vcpus')
  if (count >= 1n && count <= MOST_VCPUS)
    return { memoryMiB: memoryBytes(memory) / MIB, vcpus: Number(count) }
  throw new UsageError(`--vcpus is "${vcpus}", 1 to ${MOST_VCPUS} are supported`, { code: 'bad-value' })
}

type Inputs = NonNullable<MeasuredDocument['inputs']>

/** What else the registers come from; of files of the ESP the name, which decides their order, and the digest. */
function bootInputs(
  flags: TpmFlags,
  { smbios, bootSecretMixin }: Awaited<ReturnType<typeof tablesOf>>,
  { addons, companions }: Awaited<ReturnType<typeof espFilesOf>>,
): Inputs {
  const named = (
    name: InputName,
    files: readonly { readonly name: string; readonly content: Uint8Array }[],
  ) =>
    files.length === 0
      ? {}
      : { [name]: files.map((file) => `${file.name} ${sha256Hex(file.content)}`).join(', ') }
  const { loadOptions, smbiosCommandLine, phase, profile } = flags
  return {
    ...(smbios && { smbios: sha256Hex(smbios) }),
    ...(bootSecretMixin && { bootSecretMixin: sha256Hex(bootSecretMixin) }),
    ...named('addons', [...addons.local, ...addons.global]),
    ...named('credentials', companions.credentials),
    ...named('sysexts', companions.sysexts),
    ...named('confexts', companions.confexts),
    ...(loadOptions !== undefined && { loadOptions }),
    ...(smbiosCommandLine !== undefined && { smbiosCommandLine }),
    ...(profile !== '0' && { profile }),
    ...(phase && { phases: phase.join() }),
  }
}

/** What stands between firmware and UKI. */
async function bootProgramsOf(flags: TpmFlags): Promise<Pick<TpmBoot, 'shim' | 'systemdBoot'>> {
  const { shim, loader, loaderConf, loadOptions, addon, globalAddon } = flags
  const bad = (words: string) => new UsageError(words, { code: 'bad-value' })
  if (shim !== undefined && loader !== undefined)
    throw bad('--shim and --loader: a boot through both is not predicted, only one can be given')
  if (loaderConf !== undefined && loader === undefined)
    throw bad('--loader-conf needs --loader, which reads it')
  if (loader !== undefined && loadOptions !== undefined)
    throw bad('--load-options and --loader: systemd-boot passes no command line to a UKI')
  if (shim !== undefined && (addon ?? globalAddon) !== undefined)
    throw bad('--shim and --addon: a boot through shim is predicted without addons')
  const read = (path: string, flag: string) => readMaterial(path, flag, FILE_LIMITS.kernel)
  if (shim !== undefined) return { shim: await read(shim, '--shim') }
  if (loader === undefined) return {}
  const file = await read(loader, '--loader')
  if (loaderConf === undefined) return { systemdBoot: { file } }
  const configuration = await readMaterial(loaderConf, '--loader-conf', FILE_LIMITS.document)
  return { systemdBoot: { file, configuration } }
}

function programInputs({ shim, systemdBoot }: Pick<TpmBoot, 'shim' | 'systemdBoot'>): Inputs {
  const { file, configuration } = systemdBoot ?? {}
  return {
    ...(shim && { shim: sha256Hex(shim) }),
    ...(file && { loader: sha256Hex(file) }),
    ...(configuration && { loaderConfiguration: sha256Hex(configuration) }),
  }
}

async function tablesOf({ acpi, smbios, bootSecretMixin }: TpmFlags) {
  return {
    ...(acpi !== undefined && { acpi: await acpiOf(acpi) }),
    ...(smbios !== undefined && { smbios: await readMaterial(smbios, '--smbios', FILE_LIMITS.document) }),
    ...(bootSecretMixin !== undefined && {
      bootSecretMixin: await readMaterial(bootSecretMixin, '--boot-secret-mixin', FILE_LIMITS.document),
    }),
  }
}

async function espFilesOf(flags: TpmFlags) {
  const read = (paths: readonly string[] = [], flag: string) =>
    Promise.all(
      paths.map(async (path) => {
        const content = await readMaterial(path, flag, FILE_LIMITS.kernel)
        return { name: basename(path), content, file: content }
      }),
    )
  return {
    addons: {
      local: await read(flags.addon, '--addon'),
      global: await read(flags.globalAddon, '--global-addon'),
    },
    companions: {
      credentials: await read(flags.credential, '--credential'),
      sysexts: await read(flags.sysext, '--sysext'),
      confexts: await read(flags.confext, '--confext'),
    },
  }
}

/** Each register with its events below it; what is not known says why. */
function readable({ pcrs, unknown, events, refused }: TpmDocument): string {
  const { strong, faint } = paletteFor(process.stdout)
  const lines = refused === undefined ? [] : [strong(`the firmware refuses the UKI: ${refused}`)]
  for (const [bank, values] of Object.entries(pcrs))
    for (let index = 0; index < 16; index++) {
      const register = `pcr${index}`
      const reasons = unknown.find((each) => each.register === register)?.reasons ?? []
      const own = events.filter((event) => event.register === register)
      lines.push(strong(`${register.padEnd(5)} ${bank} ${values[index] ?? 'not known'}`))
      lines.push(...reasons.map((reason) => `      because ${reason}`))
      lines.push(...own.map((event) => faint(eventLine(event, bank))))
    }
  return `${lines.join('\n')}\n`
}
