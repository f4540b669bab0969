import t from 'tap'
import { type FirmwareBuild, firmwareFact } from './firmware.ts'
import { probeHost } from './host.ts'
import { readRecord, recordedHosts, recordedSpec } from './recorded-host.ts'

const BUILD: FirmwareBuild = {
  id: 'ovmf',
  title: 'OVMF',
  package: 'ovmf',
  path: 'usr/share/OVMF/CODE.fd',
  load: 'pflash',
  variables: 'usr/share/OVMF/VARS.fd',
  keys: 'none',
  features: ['persistent-variables'],
}

for (const name of recordedHosts()) {
  const record = readRecord(name)
  const { expected } = record

  t.test(`${record.title}: every fact is found as it is`, async (t) => {
    const { facts, parameters } = await probeHost(recordedSpec(record, [BUILD]))
    const found = Object.fromEntries(facts.map(({ id, status }) => [id, status]))
    const firmware = 'missing' in record.programs ? 'unknown' : 'yes'
    t.strictSame(found, { ...expected.facts, [firmwareFact(BUILD)]: firmware })
    t.strictSame(parameters, expected.parameters)
    for (const [id, part] of Object.entries(expected.proofs)) {
      t.match(facts.find((fact) => fact.id === id)?.proof, part, `the proof of ${id}`)
    }
    for (const [id, part] of Object.entries(expected.hints)) {
      t.match(facts.find((fact) => fact.id === id)?.hint, part, `the hint of ${id}`)
    }
  })

  t.test(`${record.title}: every fact has a proof on one line, and no hint when it holds`, async (t) => {
    const { facts } = await probeHost(recordedSpec(record, [BUILD]))
    t.equal(new Set(facts.map(({ id }) => id)).size, facts.length, 'no id twice')
    for (const { id, status, proof, hint } of facts) {
      t.ok(proof !== '' && !proof.includes('\n'), `${id}: ${proof}`)
      if (status === 'yes') t.equal(hint, '', `${id} needs no hint`)
    }
  })
}
