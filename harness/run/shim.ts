/** VMs in which a distribution's shim stands between the firmware and our UKI. */
import { X509Certificate } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { TimeoutError, UsageError } from '../base/errors.ts'
import { inFile } from '../base/in-file.ts'
import { addBootEntry, bootConfiguration, setBootNext } from '../formats/boot-configuration.ts'
import { MOK_LIST } from '../formats/shim.ts'
import { encodeSignatureLists, SIGNATURE_TYPES } from '../formats/signature-list.ts'
import { ucs2Bytes } from '../formats/ucs2.ts'
import { VARIABLE_ATTRIBUTES } from '../formats/variable-store.ts'
import { setVariable } from '../formats/variable-store-edit.ts'
import type { ConsoleMatch, Mark } from '../machine/console/engine.ts'
import { FALLBACK_BOOT_PATH } from '../materials/boot-disk.ts'
import { changeEsp, findEsp } from '../materials/esp.ts'
import type { ImageUkiOptions } from '../materials/images.ts'
import type { SigningKeyName } from '../materials/keys.ts'
import { ensureShim } from '../materials/shim.ts'
import type { Bench } from './bench.ts'
import type { Boot } from './boot.ts'
import type { FirstUki } from './image.ts'
import type { SlotOwner } from './slot-owner.ts'

export interface ShimOptions {
  /** Certificate that is enrolled as machine owner key; `none`: shim trusts its vendor and the firmware alone. */
  readonly mok: SigningKeyName | 'none'
  /** Key of the UKI's signature. */
  readonly signedBy: SigningKeyName
}

/** shim's default second stage (DEFAULT_LOADER), beside itself. */
const SECOND_STAGE_PATH = 'EFI/BOOT/grubx64.efi'
/** Owner of the entry: any GUID. */
const OWNER = '605dab50-e046-4300-abb6-3dd810dd8b23'

/** shim where the firmware looks, and the UKI where shim does. */
export async function secondStage(bench: Bench, { signedBy }: ShimOptions): Promise<FirstUki> {
  const shim = await ensureShim(bench)
  return {
    path: SECOND_STAGE_PATH,
    change: { signedBy },
    beside: { [FALLBACK_BOOT_PATH]: shim },
    shim: shim.file,
  }
}

/** What MokManager leaves after its questions, which nobody is there to answer: shim takes it only without RUNTIME. */
export async function enrolMok(
  { keys }: Pick<Bench, 'keys'>,
  { variables, mok }: Pick<ShimOptions, 'mok'> & { readonly variables: string },
): Promise<void> {
  if (mok === 'none') return
  const { raw } = new X509Certificate(await readFile(keys.certificates[mok].certificate))
  const signatures = [{ owner: OWNER, data: raw }]
  const data = encodeSignatureLists([{ type: SIGNATURE_TYPES.x509, header: new Uint8Array(), signatures }])
  const attributes = VARIABLE_ATTRIBUTES.nonVolatile | VARIABLE_ATTRIBUTES.bootService
  await writeFile(variables, setVariable(await readFile(variables), { ...MOK_LIST, data, attributes }))
}

const NEXT_PATH = 'EFI/BOOT/next.efi'

/**
 * Lets the next boot, and no other, be one of another UKI: BootNext names an entry that starts shim, with the UKI's path
 * as its argument. The VM must be off. Throws UsageError `bad-scenario` where it has no UKI of ours or no variables.
 */
export async function offerThroughShim(vm: SlotOwner, change: Omit<ImageUkiOptions, 'keys'>): Promise<void> {
  vm.requireOff('offer an update')
  const { uki } = vm.disk
  if (uki === undefined || vm.firmware.kind !== 'pflash')
    throw new UsageError('BootNext needs a UKI of ours, and firmware with a variable store', {
      code: 'bad-scenario',
    })
  const { tools } = vm.spec.bench
  const { directory } = vm.spec
  const esp = await findEsp(tools, { disk: vm.disk.file, directory })
  const put = { kind: 'put', path: NEXT_PATH, file: await uki.build(change) } as const
  await changeEsp(tools, esp, { directory, changes: [put] })
  const { variables } = vm.firmware
  const entry = addBootEntry(await readFile(variables), {
    ...{ description: 'next', file: FALLBACK_BOOT_PATH, partition: esp.partition },
    optionalData: ucs2Bytes(`\\${NEXT_PATH.replaceAll('/', '\\')}`),
  })
  await writeFile(variables, setBootNext(entry.image, entry.number))
}

/** Whether the next boot is to be of another entry than the default. The VM must be off. */
export async function bootNextOf(vm: SlotOwner): Promise<'set' | 'none'> {
  vm.requireOff('read the variables')
  if (vm.firmware.kind !== 'pflash') return 'none'
  const file = vm.firmware.variables
  const image = await readFile(file)
  const { next } = inFile({ what: 'variable store', file }, () => bootConfiguration(image))
  return next === undefined ? 'none' : 'set'
}

export interface ShimRefusal {
  /** shim's words; undefined where it booted its second stage. */
  readonly words: string | undefined
  /** Nothing went on by itself for some seconds after them. */
  readonly waits: boolean
  /** What the firmware says when shim has given up; undefined where it did not. */
  readonly firmware: string | undefined
  readonly reachedKernel: boolean
}

/** As it stands in a box on the screen, which waits for a key for as long as nobody presses one. */
const REFUSAL = /Verification failed: \(0x1A\) Security Violation/
/** The firmware goes on with its next entry, or begins again with the same shim. */
const GIVEN_UP = /BdsDxe: failed to start/
const BOOTED = /attestbed-initrd: /
const DECISION_MS = 180_000
/** Firmware and shim answer within one; MokManager's own countdown is of ten. */
const PATIENCE_MS = 12_000

/**
 * Waits until shim refuses its second stage and whether anything goes on then, presses Enter, and waits until the firmware
 * has shim's answer. The VM goes on. Throws TimeoutError where shim neither refuses nor boots it.
 */
export async function pressOnAfterRefusal(boot: Boot): Promise<ShimRefusal> {
  const { console } = boot.machine
  const options = { deadlineMs: DECISION_MS, expectFailures: [], timeoutCode: 'boot' } as const
  const decided = await console.expect(
    [
      { name: 'refused', match: REFUSAL },
      { name: 'booted', match: BOOTED },
    ],
    { ...options, since: 0, awaited: 'shim to decide about its second stage' },
  )
  if (decided.index > 0) return { words: undefined, waits: false, firmware: undefined, reachedKernel: true }
  const waits = await isSilent(boot, decided.end)
  await console.send('\r')
  const after = { ...options, since: decided.end, awaited: 'the firmware to go on after shim' }
  const { match: firmware } = await console.expect(GIVEN_UP, after)
  boot.disregardSoFar()
  return {
    words: textOf(decided.match),
    waits,
    firmware: textOf(firmware),
    reachedKernel: boot.reachedKernel,
  }
}

/** The same, and switches the VM off. */
export async function awaitRefusal(boot: Boot): Promise<ShimRefusal> {
  const refusal = await pressOnAfterRefusal(boot)
  await boot.cut()
  return refusal
}

async function isSilent({ machine }: Boot, since: Mark): Promise<boolean> {
  try {
    await machine.console.expect(
      [
        { name: 'given-up', match: GIVEN_UP },
        { name: 'booted', match: BOOTED },
      ],
      {
        since,
        deadlineMs: PATIENCE_MS,
        expectFailures: [],
        timeoutCode: 'boot',
        awaited: 'anything to go on',
      },
    )
    return false
  } catch (error) {
    if (error instanceof TimeoutError) return true
    throw error
  }
}

function textOf(match: ConsoleMatch['match']): string {
  return typeof match === 'string' ? match : match[0]
}
