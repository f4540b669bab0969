import t from 'tap'
import { outcomeOf, refusesToParse, refusesToVerify, refusesTruncation } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing } from '../../base/testing/vectors.ts'
import { parseSevAuthority, parseSevPlatformCertificate } from '../../formats/sev/certificate.ts'
import { type SevChain, verifySevChain } from './chain.ts'

const skip = { skip: vectorsMissing }
const bytesOf = (name: string): Buffer => Buffer.from(vector(`sev/naples_${name}.cert`))

function chain(change: Partial<Record<keyof SevChain, Uint8Array>> = {}): SevChain {
  const read = (name: keyof SevChain): Uint8Array => change[name] ?? bytesOf(name)
  return {
    ark: parseSevAuthority(read('ark')),
    ask: parseSevAuthority(read('ask')),
    cek: parseSevPlatformCertificate(read('cek')),
    oca: parseSevPlatformCertificate(read('oca')),
    pek: parseSevPlatformCertificate(read('pek')),
    pdh: parseSevPlatformCertificate(read('pdh')),
  }
}

t.test('the chain of a Naples platform verifies under AMD’s pinned ARK', skip, async (t) => {
  t.equal(
    outcomeOf(() => verifySevChain(chain())),
    'accepted',
  )
  t.equal(chain().ark.keyId, '1bb987c359494606b174945601c9ea5b')
  t.equal(chain().pek.signatures.length, 2)
})

t.test('the ARK without its signature is refused', skip, async (t) => {
  const bad = vector('sev/naples_ark.cert.bad')
  refusesToParse(t, () => parseSevAuthority(bad), { code: 'truncated', field: 'SIGNATURE', offset: 576 })
})

const AT: readonly (readonly [keyof SevChain, number])[] = [
  ['ask', 0x150],
  ['ask', 0x250],
  ['cek', 0x20],
  ['cek', 0x420],
  ['oca', 0x20],
  ['pek', 0x20],
  ['pek', 0x420],
  ['pek', 0x628],
  ['pdh', 0x20],
  ['pdh', 0x41c],
]

t.test('a changed bit in any certificate breaks the chain', skip, async (t) => {
  for (const [name, at] of AT) {
    const bytes = bytesOf(name)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    refusesToVerify(
      t,
      () => verifySevChain(chain({ [name]: bytes })),
      'certificate-signature',
      `${name} 0x${at.toString(16)}`,
    )
  }
  const ark = bytesOf('ark')
  ark[0x150] = (ark[0x150] ?? 0) ^ 1
  refusesToVerify(t, () => verifySevChain(chain({ ark })), 'unknown-root')
  refusesToVerify(t, () => verifySevChain(chain(), []), 'unknown-root', 'no root is pinned')
  const unsigned = bytesOf('ark')
  unsigned.fill(0, 576)
  refusesToVerify(t, () => verifySevChain(chain({ ark: unsigned })), 'certificate-signature', 'no signature')
})

t.test('a certificate in the place of another is refused', skip, async (t) => {
  refusesToVerify(t, () => verifySevChain(chain({ cek: bytesOf('pek') })), 'bad-chain')
  refusesToVerify(t, () => verifySevChain(chain({ ask: bytesOf('ark') })), 'bad-chain', 'ARK as ASK')
  const ask = bytesOf('ask')
  ask[0x14] = (ask[0x14] ?? 0) ^ 1
  refusesToVerify(t, () => verifySevChain(chain({ ask })), 'bad-chain', 'an ASK of another issuer')
})

t.test('certificates that are malformed are refused', skip, async (t) => {
  for (const name of ['ark', 'ask'] as const) refusesTruncation(t, bytesOf(name), parseSevAuthority, name)
  for (const name of ['cek', 'oca', 'pek', 'pdh'] as const)
    refusesTruncation(t, bytesOf(name), parseSevPlatformCertificate, name)
  const patched = (name: string, at: number, value: number): Buffer => {
    const bytes = bytesOf(name)
    bytes.writeUInt32LE(value, at)
    return bytes
  }
  for (const [at, value] of [
    [0, 2],
    [0x24, 1],
    [0x38, 0],
    [0x38, 4096],
    [0x3c, 0xffffffff],
  ] as const)
    refusesToParse(
      t,
      () => parseSevAuthority(patched('ask', at, value)),
      { code: 'bad-value' },
      `ASK 0x${at.toString(16)}`,
    )
  refusesToParse(t, () => parseSevAuthority(patched('ask', 0x28, 1)), { code: 'reserved-bit', offset: 0x28 })
  for (const [at, value] of [
    [0, 2],
    [8, 0x1005],
    [0x0c, 1],
    [0x10, 1],
    [0x414, 0x1005],
    [0x418, 9],
  ] as const)
    refusesToParse(
      t,
      () => parseSevPlatformCertificate(patched('pek', at, value)),
      { code: 'bad-value' },
      `PEK 0x${at.toString(16)}`,
    )
  refusesToParse(t, () => parseSevPlatformCertificate(patched('pek', 0x400, 1)), { code: 'reserved-bit' })
  refusesToParse(t, () => parseSevPlatformCertificate(Buffer.concat([bytesOf('pek'), Buffer.alloc(1)])), {
    code: 'trailing-bytes',
  })
})
