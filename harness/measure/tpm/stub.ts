/**
 * What systemd-stub and the kernel's EFI stub measure: PCR 11 (UAPI specification UKI 1 and the Linux TPM PCR Registry),
 * PCR 12 and 13 (systemd-stub(7)), SMBIOS structures into PCR 1 (since systemd 261), and by the kernel its command line
 * and initrd into PCR 9 (Documentation/arch/x86 and the UEFI stub's efi-stub-helper.c).
 */
import { type Uki, ukiSection } from '../../formats/uki.ts'
import type { BootSecret } from './boot-secret.ts'
import { type EventContent, known, type PredictedEvent, unknown } from './event.ts'
import { COMPANIONS, type Companions, combinedInitrd, companionArchive } from './stub-initrd.ts'

export interface Addon {
  /** File name on the ESP: `10-console.addon.efi`. */
  readonly name: string
  readonly file: Uint8Array
}

export interface ParsedAddon {
  readonly name: string
  readonly sections: Uki
}

export interface StubInputs {
  readonly uki: Uki
  readonly secureBoot: boolean
  /** Those that the stub takes, in its order: global ones first, each by name. */
  readonly addons: readonly ParsedAddon[]
  readonly companions: Companions
  /** The command line that the loader or boot entry passes; undefined or empty: none. */
  readonly loadOptions?: string | undefined
  /** Of SMBIOS type 11, `io.systemd.stub.kernel-cmdline-extra=`. */
  readonly smbiosCommandLine?: string | undefined
  readonly profile: number
  readonly bootSecret: BootSecret
  readonly previousInitrd?: Uint8Array | undefined
}

/** PCR 11 in the stub: each section's name with its NUL, then its content. */
export function sectionEvents(uki: Uki): readonly PredictedEvent[] {
  return uki.sections
    .filter(({ name }) => name !== '.pcrsig')
    .flatMap(({ name, content }): PredictedEvent[] => [
      { ...ipl(11, `name ${name}`), from: 'uki', content: known(`${name}\0`) },
      { ...ipl(11, `section ${name}, ${content.length} bytes`), from: 'uki', content: known(content) },
    ])
    .concat(
      uki.byHardware.map((name) => ({
        ...ipl(11, `section ${name}`),
        from: 'uki',
        content: unknown(`which ${name} the stub takes depends on the hardware ids of the machine`),
      })),
    )
}

/** Extended by systemd-pcrextend as words of the boot phase; they are in systemd's own log. */
export function phaseEvents(phases: readonly string[]): readonly PredictedEvent[] {
  return phases.map((phase) => ({
    ...{ pcr: 11, type: 'runtime', what: `phase ${phase}`, from: 'specification' },
    content: known(phase),
  }))
}

export interface StubPrediction {
  /** Into PCR 12, before the sections: the profile, where it is not the first. */
  readonly profile: readonly PredictedEvent[]
  /** Into PCR 12 and 13, after the sections, in order. */
  readonly events: readonly PredictedEvent[]
  readonly commandLine: string
  /** No parts: the kernel gets no initrd. */
  readonly initrd: EventContent
}

/** The parameters: what is on the command line and in the initrd beside the UKI's own. */
export function stubParameters(inputs: StubInputs): StubPrediction {
  const { uki, secureBoot, companions, profile, bootSecret } = inputs
  const builtIn = ukiSection(uki, '.cmdline')
  const passed = mangle(inputs.loadOptions ?? '')
  const overridden = passed !== '' && !(secureBoot && builtIn !== undefined)
  const base = overridden ? passed : mangle(text(builtIn))
  const fromAddons = inputs.addons
    .map(({ sections }) => mangle(text(ukiSection(sections, '.cmdline'))))
    .filter((line) => line !== '')
    .join(' ')
  const fromSmbios = mangle(inputs.smbiosCommandLine ?? '')
  const microcode = addonContents(inputs.addons, '.ucode')
  const initrds = addonContents(inputs.addons, '.initrd')
  const archives = COMPANIONS.flatMap(({ kind, pcr, description }): PredictedEvent[] => {
    const archive = companionArchive(kind, companions[kind] ?? [])
    return archive === undefined ? [] : [{ ...ipl(pcr, description), from: 'esp', content: known(archive) }]
  })
  return {
    profile: profile > 0 ? [tagged(12, `profile ${profile}`, known(wide(String(profile))))] : [],
    events: [
      ...(overridden ? [commandLineEvent('command line passed to the stub', 'variables', passed)] : []),
      ...(fromAddons ? [commandLineEvent('command line of addons', 'addons', fromAddons)] : []),
      ...(fromSmbios ? [commandLineEvent('command line in SMBIOS', 'smbios', fromSmbios)] : []),
      ...archives,
      ...microcode
        .toReversed()
        .map((each) => tagged(12, `microcode of addon ${each.name}`, known(each.content))),
      ...initrds.map((each) => tagged(12, `initrd of addon ${each.name}`, known(each.content))),
    ],
    commandLine: [base, fromAddons, fromSmbios].filter((part) => part !== '').join(' '),
    initrd:
      bootSecret.kind === 'unknown'
        ? unknown(bootSecret.reason)
        : known(
            ...combinedInitrd({
              ...{ uki, companions, previous: inputs.previousInitrd },
              bootSecret: bootSecret.kind === 'known' ? bootSecret.secret : undefined,
              addonMicrocode: microcode.map(({ content }) => content),
              addonInitrds: initrds.map(({ content }) => content),
            }),
          ),
  }
}

/** PCR 9: what the kernel's EFI stub measures of what it was given. */
export function kernelEvents({ commandLine, initrd }: StubPrediction): readonly PredictedEvent[] {
  const options: EventContent = /(^|\s)console=/.test(commandLine)
    ? known(wide(commandLine))
    : unknown('without console= on the command line the stub may add one, by the console of the firmware')
  return [
    { ...tagged(9, `command line "${commandLine}"`, options), from: 'uki' },
    ...(initrd.known && initrd.parts.length === 0
      ? []
      : [{ ...tagged(9, 'initrd, with what the stub adds to it', initrd), from: 'uki' as const }]),
  ]
}

function addonContents(
  addons: readonly ParsedAddon[],
  name: '.ucode' | '.initrd',
): readonly { name: string; content: Uint8Array }[] {
  return addons.flatMap(({ name: addon, sections }) => {
    const content = ukiSection(sections, name)
    return content === undefined ? [] : [{ name: addon, content }]
  })
}

function ipl(pcr: number, what: string): Pick<PredictedEvent, 'pcr' | 'type' | 'what'> {
  return { pcr, type: 'EV_IPL', what }
}

function tagged(pcr: number, what: string, content: EventContent): PredictedEvent {
  return { pcr, type: 'EV_EVENT_TAG', what, from: 'addons', content }
}

function commandLineEvent(what: string, from: PredictedEvent['from'], line: string): PredictedEvent {
  return { ...ipl(12, `${what}: "${line}"`), from, content: known(wide(line)) }
}

/** UTF-16 with its NUL, as load options are. */
function wide(line: string): Buffer {
  return Buffer.from(`${line}\0`, 'utf16le')
}

/** A section's text ends at a NUL. */
function text(section: Uint8Array | undefined): string {
  const whole = Buffer.from(section ?? []).toString('utf8')
  const end = whole.indexOf('\0')
  return end < 0 ? whole : whole.slice(0, end)
}

/** Controls become blanks, blanks around are dropped: mangle_stub_cmdline of systemd. */
function mangle(line: string): string {
  return Array.from(line, (character) => (character <= '\x1f' ? ' ' : character))
    .join('')
    .replace(/^ +| +$/g, '')
}
