/**
 * TCB_VERSION and the processors that lay it out differently: SEV Secure Nested Paging Firmware ABI Specification
 * (AMD 56860, revision 1.58), 2.2 and table 3.
 */

/** Product lines as AMD's key service and roots name them; Bergamo and Siena belong to Genoa's. */
export type SnpProduct = 'milan' | 'genoa' | 'turin'

/** Product lines: Bergamo and Siena are of Genoa's. AMD 57230, product names. */
export const SNP_PRODUCTS: readonly SnpProduct[] = ['milan', 'genoa', 'turin']

/** How the eight bytes of a TCB_VERSION are laid out. AMD 56860, table 3. */
export type TcbLayout = 'milan-genoa' | 'turin'

/** Components of a TCB_VERSION, one byte each: AMD 56860, 2.2. */
export interface SnpTcb {
  /** The 8 bytes as they stand in the report. */
  readonly raw: Uint8Array
  /** Turin and later only: the first mutable code loaded by the boot ROM. */
  readonly fmc?: number
  readonly bootloader: number
  readonly tee: number
  readonly snp: number
  readonly microcode: number
}

/** Bytes of a TCB_VERSION. AMD 56860, table 3. */
export const TCB_BYTES = 8

/** Where each component stands; what no component names is reserved and zero. */
const OFFSETS = {
  'milan-genoa': { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  turin: { fmc: 0, bootloader: 1, tee: 2, snp: 3, microcode: 7 },
} as const

/** Offsets of its reserved bytes, by layout. AMD 56860, table 3. */
export const TCB_RESERVED: Readonly<Record<TcbLayout, { readonly from: number; readonly to: number }>> = {
  'milan-genoa': { from: 2, to: 6 },
  turin: { from: 4, to: 7 },
}

/** Which layout a product line has. AMD 56860, 2.2. Never throws. */
export function tcbLayout(product: SnpProduct): TcbLayout {
  return product === 'turin' ? 'turin' : 'milan-genoa'
}

/**
 * Components of 8 bytes; whether the reserved ones are zero is the caller's to check. AMD 56860, table 3 (TCB_VERSION).
 * Never throws.
 */
export function decodeTcb(raw: Uint8Array, layout: TcbLayout): SnpTcb {
  const at = (offset: number): number => raw[offset] ?? 0
  const { bootloader, tee, snp, microcode } = OFFSETS[layout]
  return {
    raw,
    ...(layout === 'turin' && { fmc: at(OFFSETS.turin.fmc) }),
    ...{ bootloader: at(bootloader), tee: at(tee), snp: at(snp), microcode: at(microcode) },
  }
}

/** The 8 bytes; every component from 0 to 255, RangeError for another. AMD 56860, table 3. */
export function encodeTcb(tcb: Omit<SnpTcb, 'raw'>, layout: TcbLayout): Buffer {
  const raw = Buffer.alloc(TCB_BYTES)
  const { bootloader, tee, snp, microcode } = OFFSETS[layout]
  if (layout === 'turin') raw.writeUInt8(tcb.fmc ?? 0, OFFSETS.turin.fmc)
  raw.writeUInt8(tcb.bootloader, bootloader)
  raw.writeUInt8(tcb.tee, tee)
  raw.writeUInt8(tcb.snp, snp)
  raw.writeUInt8(tcb.microcode, microcode)
  return raw
}

/** "bootloader 4, TEE 0, SNP 24, microcode 219", for people. Never throws. */
export function tcbText({ fmc, bootloader, tee, snp, microcode }: Omit<SnpTcb, 'raw'>): string {
  const first = fmc === undefined ? '' : `FMC ${fmc}, `
  return `${first}bootloader ${bootloader}, TEE ${tee}, SNP ${snp}, microcode ${microcode}`
}

/**
 * CPUID Fn0000_0001_EAX, family and model with their extensions. AMD 56860, table 23 (CPUID_FAM_ID, CPUID_MOD_ID,
 * CPUID_STEP); a byte each.
 */
export interface CpuidSignature {
  readonly family: number
  readonly model: number
  readonly stepping: number
}

interface Processor {
  readonly family: number
  readonly models: readonly [number, number]
  readonly product: SnpProduct
  readonly name: string
}

const PROCESSORS: readonly Processor[] = [
  { family: 0x19, models: [0x00, 0x0f], product: 'milan', name: 'Milan' },
  { family: 0x19, models: [0x10, 0x1f], product: 'genoa', name: 'Genoa' },
  { family: 0x19, models: [0xa0, 0xaf], product: 'genoa', name: 'Bergamo or Siena' },
  { family: 0x1a, models: [0x00, 0x1f], product: 'turin', name: 'Turin' },
]

/** A processor by CPUID. AMD 57230, product names. */
export interface SnpProcessor {
  readonly product: SnpProduct
  /** For people; Bergamo and Siena have the same models. */
  readonly name: string
}

/**
 * Undefined for processors whose TCB layout and root are not known here. By AMD 56860, table 23 (CPUID_FAM_ID,
 * CPUID_MOD_ID). Never throws.
 */
export function snpProcessor({ family, model }: CpuidSignature): SnpProcessor | undefined {
  const found = PROCESSORS.find(
    ({ family: known, models: [first, last] }) => family === known && model >= first && model <= last,
  )
  return found && { product: found.product, name: found.name }
}
