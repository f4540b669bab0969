import t from 'tap'
import type { HostReport } from '../probe/facts.ts'
import { renderHostReport } from './host-report.ts'

const REPORT: HostReport = {
  facts: [
    { id: 'cpu', status: 'yes', proof: 'AMD EPYC 7763', hint: '' },
    {
      id: 'kvm-device',
      status: 'no',
      proof: 'opening /dev/kvm: EACCES',
      hint: 'Join the group kvm: usermod -aG kvm alice (as root), then log in again',
    },
    {
      id: 'firmware-ovmf-secboot-strictnx',
      status: 'unknown',
      proof: `/${'long/'.repeat(30)}OVMF.fd`,
      hint: '',
    },
  ],
  platforms: {
    kvm: { usable: false, reason: '/dev/kvm must open: opening /dev/kvm: EACCES (kvm-device)' },
    tdx: { usable: true, limits: ['guests get no quotes'] },
    tcg: { usable: true },
  },
}

t.test('the report fits the terminal and says everything', async (t) => {
  for (const width of [60, 80, 120]) {
    const text = renderHostReport(REPORT, { width })
    for (const line of text.split('\n')) t.ok(line.length <= width, `${line.length}: ${line}`)
    const words = text.replaceAll(/\s+/g, '')
    for (const { id, proof, hint } of REPORT.facts) {
      for (const said of [id, proof, hint]) t.ok(words.includes(said.replaceAll(/\s+/g, '')), said)
    }
  }
})

t.test('status and text stand in columns', async (t) => {
  t.equal(
    renderHostReport(REPORT).split('\n').slice(0, 10).join('\n'),
    `Platforms
  kvm                   no       /dev/kvm must open: opening /dev/kvm: EACCES
                                 (kvm-device)
  tdx                   yes      guests get no quotes
  tcg                   yes

Facts
  cpu                   yes      AMD EPYC 7763
  kvm-device            no       opening /dev/kvm: EACCES
                                 -> Join the group kvm: usermod -aG kvm alice`,
  )
})

t.test('a hint is given only where a fact does not hold', async (t) => {
  t.equal(renderHostReport(REPORT).match(/->/g)?.length, 1)
})
