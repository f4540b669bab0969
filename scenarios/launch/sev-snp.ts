import { defineScenario } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'SEV-SNP: QEMU measures what is predicted, whatever the launch is made of',
  images: ['micro'],
  vtpms: ['none'],
  needs: { secureBoot: false, persistentVariables: false, image: ['login', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    points: {
      claim: 'every firmware met every number of vCPUs, every CPU model and both ways of booting',
      basis: 'rehearsed',
    },
    agree: {
      claim: 'predicted and rehearsed launch digest are equal at every point of the matrix',
      basis: 'rehearsed',
    },
    pages: { claim: 'so is every page, by its place, type and contents', basis: 'rehearsed' },
    distinct: {
      claim: 'control: firmware, vCPUs, CPU model and kernel each change the digest',
      basis: 'rehearsed',
    },
    register: {
      claim: 'control: with one bit of RIP in a VMSA changed they differ, in that',
      basis: 'rehearsed',
    },
    contents: {
      claim: 'control: with one bit of the firmware changed they differ, in that',
      basis: 'rehearsed',
    },
    dropped: { claim: 'control: with one page not measured they differ, in that', basis: 'rehearsed' },
    hardware: {
      claim: 'the report of a guest that was launched on the hardware has the predicted launch digest',
      requires: 'hardware',
    },
  },
  run: async (lab) => {
    const axes = {
      firmware: ['ovmf-combined', 'ovmf-amdsev'],
      vcpus: [1, 2, 8],
      cpu: ['EPYC-v4', 'EPYC-Milan', 'EPYC-Genoa'],
      kernel: ['none', 'uki'],
    } as const
    const launches = await lab.launches('sev-snp', axes)
    lab.claim('points', { expected: 2 * 3 * 3 * 2, got: launches.points })
    lab.claim('agree', { expected: launches.predicted, got: launches.rehearsed })
    lab.claim('pages', { expected: {}, got: launches.differences })
    lab.claim('distinct', { expected: 2 * 3 * 3 * 2, got: launches.distinct })
    lab.claim('register', {
      expected: { agree: false, difference: 'vmsa 0xfffffffff000+0x1000 differs in rip' },
      got: launches.control('register-changed'),
    })
    lab.claim('contents', {
      expected: { agree: false, difference: 'normal 0xffc00000+0x400000 has other contents' },
      got: launches.control('contents-changed'),
    })
    lab.claim('dropped', {
      expected: { agree: false, difference: 'normal 0x810000+0x1000 was not measured' },
      got: launches.control('page-dropped'),
    })

    const real = await lab.launchHere('sev-snp')
    if ('skipped' in real) lab.skip('hardware', real.skipped)
    else lab.claim('hardware', { expected: real.predicted, got: real.measured })
  },
})
