/** What a key service is asked for, beside a cache that has part of it. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { AMD_ROOTS } from '../evidence/snp/roots.ts'
import { snpRequest } from '../evidence/testing/emulated-requests.ts'
import { makeCrl } from '../evidence/testing/pki.ts'
import { SnpSignerEmulation } from '../evidence/testing/snp-signer.ts'
import { EndorsementCache } from './endorsement-cache.ts'
import { withFoundEndorsements } from './find-endorsements.ts'

const emulation = new SnpSignerEmulation()
const { root, intermediate, leaf } = emulation.certificates
const request = snpRequest({ more: { evidence: emulation.report(), certificates: [] } })
const milan = AMD_ROOTS.find(({ product }) => product === 'milan')?.anchor.name ?? Buffer.alloc(0)

/** Of AMD's name: what decides whether a list is asked for again. */
const list = (nextUpdate: string) =>
  makeCrl({
    ...{ issuer: milan, signer: emulation.keys.root, algorithm: 'rsa-pss-sha384' },
    ...{ thisUpdate: new Date('2025-01-01T00:00:00Z'), nextUpdate: new Date(nextUpdate) },
  })

t.test('what the cache lacks, or has no longer, is asked for, and nothing else', async (t) => {
  const asked: string[] = []
  const server = createServer(({ url = '' }, response) => {
    const [, what = ''] = /(cert_chain|crl|[0-9a-f]{128})/.exec(url) ?? []
    asked.push(what.length === 128 ? 'vcek' : what)
    response.end(
      what === 'crl'
        ? list('2027-01-01')
        : what === 'cert_chain'
          ? Buffer.concat([intermediate, root])
          : leaf,
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(async () => {
    server.closeAllConnections()
    server.close()
    await rm(directory, { recursive: true })
  })
  const services = { kds: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
  const cache = new EndorsementCache(join(directory, 'cache'))
  const ask = async () => {
    asked.length = 0
    await withFoundEndorsements(request, { cache, services })
    return asked.join(' ')
  }
  await cache.import(leaf)
  t.equal(await ask(), 'cert_chain crl', 'a certificate alone is not enough')
  t.equal(await ask(), '', 'everything is there')
  const aged = new EndorsementCache(join(directory, 'aged'))
  for (const file of [leaf, intermediate, list('2025-12-31')]) await aged.import(file)
  asked.length = 0
  const found = await withFoundEndorsements(request, { cache: aged, services })
  t.equal(asked.join(' '), 'crl', 'the list has ended, the certificates have not')
  t.equal(found.crls.length, 1)
})
