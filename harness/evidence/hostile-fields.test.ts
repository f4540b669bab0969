/**
 * Fields that whoever sends evidence fills in: every reserved bit set, every length and count at 0, 1, one off and the
 * maximum. Each is a FormatError; reserved bits one with the offset of the byte.
 */
import t from 'tap'
import { FormatError } from '../base/errors.ts'
import { outcomeOf } from '../base/testing/rejects.ts'
import { CCEL_TABLE_BYTES, parseCcelTable } from '../formats/event-log/ccel-table.ts'
import { parseHclReport } from '../formats/hcl-report.ts'
import { parseSevAuthority, parseSevPlatformCertificate } from '../formats/sev/certificate.ts'
import { encodeCertificateTable, parseCertificateTable } from '../formats/snp/certificate-table.ts'
import { encodeIdAuthentication, parseIdAuthentication } from '../formats/snp/id-block.ts'
import { parseAttest } from '../formats/tpm2/attest.ts'
import { encodeCredentialFile, parseCredentialFile } from '../formats/tpm2/credential.ts'
import { parseTpm2bPublic } from '../formats/tpm2/public.ts'
import { parseTpmSignature } from '../formats/tpm2/signature.ts'
import { idBlockCase } from './testing/id-block.ts'
import { encodeAttest, makeAk, makeEk, signAttest } from './testing/software-tpm.ts'
import { parseAzCvmVtpmQuote } from './tpm/files/az-cvm-vtpm.ts'

/** Offset, bytes, and which of its ends comes first. */
type Length = readonly [offset: number, bytes: 2 | 4 | 8, order: 'le' | 'be']

interface Format {
  readonly name: string
  readonly bytes: Buffer
  readonly parse: (bytes: Uint8Array) => unknown
  /** From the first to behind the last byte. */
  readonly reserved?: readonly (readonly [from: number, to: number])[]
  readonly lengths?: readonly Length[]
}

const ak = makeAk({ scheme: 'ecdsa' })
const attest = encodeAttest(ak, { nonce: Buffer.alloc(8, 1) })
const signature = signAttest(ak, attest, { scheme: 'ecdsa', hash: 'sha256' })
const { authentication } = idBlockCase()

const FORMATS: readonly Format[] = [
  {
    ...{ name: 'HCL report on SNP', bytes: hclReport(2), parse: parseHclReport },
    reserved: [
      [20, 32],
      [1236 + 2, 1236 + 2 + 16],
    ],
    lengths: [
      [8, 4, 'le'],
      [1216, 4, 'le'],
      [1232, 4, 'le'],
    ],
  },
  {
    ...{ name: 'HCL report on TDX', bytes: hclReport(4), parse: parseHclReport },
    reserved: [[32 + 1024, 32 + 1184]],
  },
  {
    ...{ name: 'ID authentication', parse: parseIdAuthentication },
    bytes: encodeIdAuthentication(authentication),
    reserved: [
      ...([[0x08, 0x40], ...signaturePadding(0x40), ...keyPadding(0x240), [0x644, 0x680]] as const),
      ...([...signaturePadding(0x680), ...keyPadding(0x880), [0xc84, 0x1000]] as const),
    ],
  },
  {
    ...{ name: 'ID authentication without an author', parse: parseIdAuthentication },
    bytes: encodeIdAuthentication({ idSignature: authentication.idSignature, idKey: authentication.idKey }),
    reserved: [[0x680, 0xc84]],
  },
  {
    ...{ name: 'certificate table', parse: parseCertificateTable },
    bytes: encodeCertificateTable([{ guid: '11111111-2222-3333-4444-555555555555', bytes: Buffer.of(1, 2) }]),
    // A shorter entry is the host's to make: its certificate then says that it is cut off.
    lengths: [[16, 4, 'le']],
  },
  {
    ...{ name: 'SEV authority', bytes: sevAuthority(), parse: parseSevAuthority },
    reserved: [[0x28, 0x38]],
    lengths: [
      [0x38, 4, 'le'],
      [0x3c, 4, 'le'],
    ],
  },
  {
    ...{ name: 'SEV platform certificate', bytes: sevPlatform(), parse: parseSevPlatformCertificate },
    reserved: [[0x06, 0x08], ...keyPadding(0x10), ...signaturePadding(0x41c)],
  },
  {
    ...{ name: 'TPMS_ATTEST', bytes: attest, parse: parseAttest },
    lengths: [
      [6, 2, 'be'],
      [8 + attest.readUInt16BE(6), 2, 'be'],
      [attest.length - 34 - 10, 4, 'be'],
      [attest.length - 34, 2, 'be'],
    ],
  },
  {
    ...{ name: 'TPMT_SIGNATURE', bytes: signature, parse: parseTpmSignature },
    lengths: [
      [4, 2, 'be'],
      [6 + signature.readUInt16BE(4), 2, 'be'],
    ],
  },
  {
    ...{ name: 'TPM2B_PUBLIC', bytes: sized(ak.area.bytes), parse: parseTpm2bPublic },
    lengths: [
      [0, 2, 'be'],
      [10, 2, 'be'],
    ],
  },
  {
    ...{
      name: 'TPM2B_PUBLIC of RSA',
      bytes: sized(makeEk({ kind: 'rsa' }).area.bytes),
      parse: parseTpm2bPublic,
    },
    lengths: [[10, 2, 'be']],
  },
  {
    ...{ name: 'credential', parse: parseCredentialFile },
    bytes: encodeCredentialFile({ idObject: Buffer.alloc(68, 9), encryptedSecret: Buffer.alloc(256, 2) }),
    lengths: [
      [8, 2, 'be'],
      [10 + 68, 2, 'be'],
    ],
  },
  {
    ...{ name: 'az-cvm-vtpm quote', bytes: azCvmVtpm(), parse: parseAzCvmVtpmQuote },
    lengths: [
      [0, 8, 'le'],
      [8 + 256, 8, 'le'],
      [16 + 256 + attest.length, 8, 'le'],
    ],
  },
  {
    ...{ name: 'CCEL table', bytes: ccelTable(), parse: parseCcelTable },
    reserved: [[38, 40]],
    lengths: [[4, 4, 'le']],
  },
]

for (const { name, bytes, parse, reserved = [], lengths = [] } of FORMATS)
  t.test(name, async (t) => {
    t.doesNotThrow(() => parse(bytes), 'as it is')
    t.same(
      reserved.flatMap((range) => bitsThatPass({ bytes, parse }, range)),
      [],
      'no reserved bit passes',
    )
    t.same(
      lengths.flatMap((length) => lengthsThatPass({ bytes, parse }, length)),
      [],
      'no other length passes',
    )
  })

type Case = Pick<Format, 'bytes' | 'parse'>

function bitsThatPass({ bytes, parse }: Case, [from, to]: readonly [number, number]): readonly string[] {
  const passed: string[] = []
  // Padding of hundreds of bytes: every byte, each time another bit of it.
  const step = to - from > 64 ? 7 : 1
  for (let bit = from * 8; bit < to * 8; bit += step) {
    const offset = bit >> 3
    const changed = Buffer.from(bytes)
    changed[offset] = (changed[offset] ?? 0) ^ (1 << (bit & 7))
    const outcome = outcomeOf(() => parse(changed))
    const refused =
      outcome instanceof FormatError && outcome.code === 'reserved-bit' && outcome.offset === offset
    if (!refused) passed.push(`bit ${bit & 7} of 0x${offset.toString(16)}: ${String(outcome)}`)
  }
  return passed
}

function lengthsThatPass({ bytes, parse }: Case, [offset, width, order]: Length): readonly string[] {
  const max = (1n << BigInt(width * 8)) - 1n
  const inOrder = (part: Uint8Array) => Buffer.from(order === 'le' ? Buffer.from(part).reverse() : part)
  const is = BigInt(`0x${inOrder(bytes.subarray(offset, offset + width)).toString('hex')}`)
  return [0n, 1n, is - 1n, is + 1n, max].flatMap((value) => {
    if (value === is || value < 0n) return []
    const changed = Buffer.from(bytes)
    const written = Buffer.from(value.toString(16).padStart(width * 2, '0'), 'hex')
    inOrder(written).copy(changed, offset)
    const outcome = outcomeOf(() => parse(changed))
    return outcome instanceof FormatError ? [] : [`${value} at ${offset}: ${String(outcome)}`]
  })
}

/** P-384 in fields of 72 bytes; 512 in all. */
function signaturePadding(at: number): readonly (readonly [number, number])[] {
  return [
    [at + 48, at + 72],
    [at + 72 + 48, at + 512],
  ]
}

/** The curve, then as above; 1028 in all. */
function keyPadding(at: number): readonly (readonly [number, number])[] {
  return [
    [at + 4 + 48, at + 4 + 72],
    [at + 4 + 72 + 48, at + 1028],
  ]
}

/** Runtime data of two bytes, and padding behind. */
function hclReport(hardware: 2 | 4): Buffer {
  const bytes = Buffer.alloc(1236 + 2 + 16)
  bytes.write('HCLA')
  bytes.writeUInt32LE(2, 4)
  bytes.writeUInt32LE(1216 + 22, 8)
  bytes.writeUInt32LE(2, 12)
  for (const [index, value] of [22, 1, hardware, 1, 2].entries()) bytes.writeUInt32LE(value, 1216 + 4 * index)
  bytes.write('{}', 1236)
  return bytes
}

function sevAuthority(): Buffer {
  const bytes = Buffer.alloc(0x40 + 3 * 256)
  bytes.writeUInt32LE(1, 0)
  bytes.writeUInt32LE(2048, 0x38)
  bytes.writeUInt32LE(2048, 0x3c)
  return bytes
}

/** A PEK, signed once by the CEK. */
function sevPlatform(): Buffer {
  const bytes = Buffer.alloc(2084)
  for (const [at, value] of [
    [0, 1],
    [8, 4098],
    [0x0c, 2],
    [0x10, 2],
    [0x414, 4100],
    [0x418, 2],
    [0x61c, 0x1000],
  ] as const)
    bytes.writeUInt32LE(value, at)
  return bytes
}

function azCvmVtpm(): Buffer {
  const count = (value: number): Buffer => {
    const bytes = Buffer.alloc(8)
    bytes.writeUInt32LE(value)
    return bytes
  }
  return Buffer.concat([
    ...[count(256), Buffer.alloc(256, 1), count(attest.length), attest],
    ...[count(24), Buffer.alloc(24 * 32)],
  ])
}

function sized(area: Uint8Array): Buffer {
  const size = Buffer.alloc(2)
  size.writeUInt16BE(area.length)
  return Buffer.concat([size, area])
}

function ccelTable(): Buffer {
  const bytes = Buffer.alloc(CCEL_TABLE_BYTES)
  bytes.write('CCEL')
  bytes.writeUInt32LE(CCEL_TABLE_BYTES, 4)
  return bytes
}
