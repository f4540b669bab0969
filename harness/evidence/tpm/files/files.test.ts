import t from 'tap'
import { refusesToParse, refusesTruncation } from '../../../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../../../base/testing/vectors.ts'
import { encodeAttest, makeAk, signAttest } from '../../testing/software-tpm.ts'
import { parseAzCvmVtpmQuote } from './az-cvm-vtpm.ts'
import { parseGoTpmToolsAttestation } from './go-tpm-tools.ts'
import { parseKeylimeQuote } from './keylime.ts'
import { parseSerializedPcrs, parseTpm2ToolsQuote } from './tpm2-tools.ts'

const ak = makeAk({ scheme: 'ecdsa' })
const attest = encodeAttest(ak, {})
const signature = signAttest(ak, attest, { scheme: 'ecdsa', hash: 'sha256' })

// --- tpm2-tools ---

const SELECTION_BYTES = 4 + 16 * 8
const LIST_BYTES = 4 + 8 * 66

/** SHA-256 PCRs as tpm2_quote -o writes them. */
function serializedPcrs(pcrs: readonly number[]): Buffer {
  const lists = Math.ceil(pcrs.length / 8)
  const bytes = Buffer.alloc(SELECTION_BYTES + 4 + lists * LIST_BYTES)
  bytes.writeUInt32LE(1, 0)
  bytes.writeUInt16LE(0x000b, 4)
  bytes[6] = 3
  for (const pcr of pcrs) bytes[7 + (pcr >> 3)] = (bytes[7 + (pcr >> 3)] ?? 0) | (1 << (pcr & 7))
  bytes.writeUInt32LE(lists, SELECTION_BYTES)
  for (const [index, pcr] of pcrs.entries()) {
    const list = SELECTION_BYTES + 4 + (index >> 3) * LIST_BYTES
    bytes.writeUInt32LE(Math.min(8, pcrs.length - (index & ~7)), list)
    const digest = list + 4 + (index & 7) * 66
    bytes.writeUInt16LE(32, digest)
    bytes.fill(pcr, digest + 2, digest + 34)
  }
  return bytes
}

t.test('the PCR values of tpm2-tools are read, also where they take several lists', async (t) => {
  const all = Array.from({ length: 24 }, (_, pcr) => pcr)
  const [bank] = parseSerializedPcrs(serializedPcrs(all))
  t.equal(bank?.bank, 'sha256')
  t.strictSame([...(bank?.values.keys() ?? [])], all)
  t.strictSame(Buffer.from(bank?.values.get(17) ?? []), Buffer.alloc(32, 17))
  const evidence = parseTpm2ToolsQuote({ attest, signature, pcrs: serializedPcrs([7]) })
  t.match(evidence, { signature: { scheme: 'ecdsa' }, pcrs: [{ bank: 'sha256' }] })
  t.strictSame(parseTpm2ToolsQuote({ attest, signature }).pcrs, [])
})

t.test('malformed PCR values of tpm2-tools are refused', async (t) => {
  const good = serializedPcrs([0, 7])
  refusesTruncation(t, good, parseSerializedPcrs)
  const write = (offset: number, value: number, size: 1 | 2 | 4) => () => {
    const copy = Buffer.from(good)
    copy.writeUIntLE(value, offset, size)
    return parseSerializedPcrs(copy)
  }
  const list = SELECTION_BYTES + 4
  refusesToParse(t, write(0, 17, 4), { code: 'bad-value', field: 'count' })
  refusesToParse(t, write(0, 0xffff_ffff, 4), { code: 'bad-value', field: 'count' })
  refusesToParse(t, write(0, 2, 4), { code: 'bad-value', field: 'selection' }, 'an empty second selection')
  refusesToParse(t, write(4, 0x1234, 2), { code: 'bad-value', field: 'selection' })
  refusesToParse(t, write(6, 5, 1), { code: 'bad-value', field: 'selection' })
  refusesToParse(t, write(7, 0x80, 1), { code: 'bad-value', field: 'digests' })
  refusesToParse(t, write(SELECTION_BYTES, 65, 4), { code: 'too-large', field: 'lists' })
  refusesToParse(t, write(SELECTION_BYTES, 2, 4), { code: 'truncated' })
  refusesToParse(t, write(SELECTION_BYTES, 0, 4), { code: 'trailing-bytes' })
  refusesToParse(t, write(list, 9, 4), { code: 'bad-value', field: 'digests.count' })
  refusesToParse(t, write(list, 1, 4), { code: 'bad-value', field: 'digests' })
  refusesToParse(t, write(list + 4, 65, 2), { code: 'bad-value', field: 'digest.size' })
  refusesToParse(t, write(list + 4, 20, 2), { code: 'bad-value', field: 'digest' })
})

// --- Keylime ---

t.test("Keylime's text is three parts in base64", async (t) => {
  const part = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  const good = `r${part(attest)}:${part(signature)}:${part(serializedPcrs([7]))}`
  t.match(parseKeylimeQuote(`${good}\n`), { signature: { scheme: 'ecdsa' }, pcrs: [{ bank: 'sha256' }] })
  refusesToParse(t, () => parseKeylimeQuote(good.slice(1)), { code: 'bad-magic' })
  refusesToParse(t, () => parseKeylimeQuote(`${good}:`), { code: 'bad-value', field: 'parts' })
  refusesToParse(t, () => parseKeylimeQuote('r::'), { code: 'bad-value', field: 'parts' })
  refusesToParse(t, () => parseKeylimeQuote(good.replace(':', '!:')), { code: 'bad-value' })
  refusesToParse(t, () => parseKeylimeQuote(`r${'A'.repeat(70_000)}`), { code: 'too-large' })
  refusesToParse(t, () => parseKeylimeQuote(''), { code: 'bad-magic' })
})

// --- go-tpm-tools ---

function field(number: number, value: Uint8Array | number): Buffer {
  if (typeof value === 'number') return Buffer.concat([varint(number * 8), varint(value)])
  return Buffer.concat([varint(number * 8 + 2), varint(value.length), value])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  return Buffer.from([...bytes, value])
}

function attestation({ banks = [bank([0, 7])] }: { banks?: readonly Buffer[] } = {}): Buffer {
  const quote = Buffer.concat([field(1, attest), field(2, signature), ...banks])
  return Buffer.concat([field(1, ak.area.bytes), field(2, quote), field(3, Buffer.from('log')), field(99, 5)])
}

function bank(pcrs: readonly number[], hash = 0x0b): Buffer {
  const entries = pcrs.map((pcr) =>
    field(2, Buffer.concat([...(pcr === 0 ? [] : [field(1, pcr)]), field(2, Buffer.alloc(32, pcr))])),
  )
  return field(3, Buffer.concat([field(1, hash), ...entries]))
}

t.test("go-tpm-tools' attestation gives the AK, the quotes and the event log", async (t) => {
  const parsed = parseGoTpmToolsAttestation(attestation())
  t.strictSame(parsed.ak.bytes, ak.area.bytes)
  t.equal(parsed.eventLog?.length, 3)
  t.strictSame([...(parsed.quotes[0]?.pcrs[0]?.values.keys() ?? [])], [0, 7], 'proto3 leaves key 0 out')
  t.equal(parsed.akCertificate, undefined)
})

t.test("a malformed attestation of go-tpm-tools' is refused", async (t) => {
  const refuses = (bytes: Uint8Array, expected: Parameters<typeof refusesToParse>[2], name = '') =>
    refusesToParse(t, () => parseGoTpmToolsAttestation(bytes), expected, name)
  const good = attestation()
  const boundaries = [
    field(1, ak.area.bytes).length,
    good.length - field(99, 5).length - field(3, Buffer.from('log')).length,
    good.length - field(99, 5).length,
  ]
  for (let length = 0; length < good.length; length++)
    if (!boundaries.includes(length)) refuses(good.subarray(0, length), {}, `${length} bytes`)
  refuses(Buffer.alloc(0), { code: 'truncated', field: 'ak_pub' })
  refuses(field(1, 5), { code: 'truncated', field: 'ak_pub' })
  refuses(Buffer.concat([good, field(2, 5)]), { code: 'bad-value', field: 'quotes' })
  refuses(Buffer.from([0x00, 0x00]), { code: 'bad-value', field: 'tag' })
  refuses(Buffer.from([0x0b]), { code: 'bad-value', field: 'tag' }, 'a group')
  refuses(Buffer.alloc(12, 0xff), { code: 'too-large', field: 'tag' }, 'a tag without an end')
  refuses(Buffer.concat([Buffer.of(0x0a), Buffer.alloc(7, 0xff), Buffer.of(0x0f)]), { code: 'truncated' })
  refuses(Buffer.concat([Buffer.of(0x0a), Buffer.alloc(7, 0xff), Buffer.of(0x1f)]), { code: 'too-large' })
  refuses(Buffer.alloc(4 * 1024 * 1024 + 1), { code: 'too-large', field: 'message' })
  refuses(attestation({ banks: [bank([7], 0x12)] }), { code: 'bad-value', field: 'hash' })
  refuses(attestation({ banks: [bank([7, 7])] }), { code: 'bad-value', field: 'pcrs' })
  refuses(attestation({ banks: [bank(Array.from({ length: 33 }, (_, pcr) => pcr + 1))] }), {
    code: 'too-large',
  })
  refuses(Buffer.concat(Array.from({ length: 17 }, attestation)), { code: 'too-large', field: 'quotes' })
})

// --- az-cvm-vtpm ---

t.test("az-cvm-vtpm's quote is signature, attestation and values", async (t) => {
  const length = (count: number) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(BigInt(count))
    return bytes
  }
  const good = Buffer.concat([
    length(256),
    Buffer.alloc(256, 1),
    length(attest.length),
    attest,
    length(1),
    Buffer.alloc(32),
  ])
  t.match(parseAzCvmVtpmQuote(good), { signature: { scheme: 'rsassa' }, pcrs: [{ bank: 'sha256' }] })
  refusesTruncation(t, good, parseAzCvmVtpmQuote)
  refusesToParse(t, () => parseAzCvmVtpmQuote(Buffer.concat([good, Buffer.of(0)])), {
    code: 'trailing-bytes',
  })
  refusesToParse(t, () => parseAzCvmVtpmQuote(Buffer.alloc(8, 0xff)), {
    code: 'too-large',
    field: 'signature length',
  })
})

t.test("others' files are read", { skip: vectorsMissing }, async (t) => {
  t.equal(parseGoTpmToolsAttestation(vector('tpm/gce-cos-85-nonce9009.pb')).quotes.length, 3)
  t.equal(parseKeylimeQuote(vectorText('tpm/keylime_test_quote.txt')).pcrs.length, 1)
  t.equal(parseAzCvmVtpmQuote(vector('azure/kinvolk_quote.bin')).pcrs[0]?.values.size, 24)
})
