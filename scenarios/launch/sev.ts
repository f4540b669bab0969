import { defineScenario } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'SEV: QEMU measures what is predicted: the firmware and the hashes of the kernel, and nothing else',
  images: ['micro'],
  vtpms: ['none'],
  needs: { secureBoot: false, persistentVariables: false, image: ['own-uki'] },
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
    pages: { claim: 'so is all that is measured, by its place and contents', basis: 'rehearsed' },
    distinct: {
      claim: 'control: firmware and kernel change the digest; number and model of the vCPUs do not',
      basis: 'rehearsed',
    },
    contents: {
      claim: 'control: with one bit of the firmware changed they differ, in that',
      basis: 'rehearsed',
    },
    dropped: { claim: "control: without the kernel's hashes they differ, in that", basis: 'rehearsed' },
  },
  run: async (lab) => {
    const axes = {
      firmware: ['ovmf-combined', 'ovmf-amdsev'],
      vcpus: [1, 4],
      cpu: ['EPYC-v4', 'EPYC-Genoa'],
      kernel: ['none', 'uki'],
    } as const
    const launches = await lab.launches('sev', axes)
    lab.claim('points', { expected: 2 * 2 * 2 * 2, got: launches.points })
    lab.claim('agree', { expected: launches.predicted, got: launches.rehearsed })
    lab.claim('pages', { expected: {}, got: launches.differences })
    lab.claim('distinct', { expected: 2 * 2, got: launches.distinct })
    lab.claim('contents', {
      expected: { agree: false, difference: 'normal 0xffc00000+0x400000 has other contents' },
      got: launches.control('contents-changed'),
    })
    lab.claim('dropped', {
      expected: { agree: false, difference: 'normal 0x810c00+0xb0 was not measured' },
      got: launches.control('page-dropped'),
    })
  },
})
