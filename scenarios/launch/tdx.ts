import { defineScenario } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'TDX: QEMU measures what is predicted: the firmware, whatever runs above it',
  images: ['micro'],
  vtpms: ['none'],
  needs: { secureBoot: false, persistentVariables: false, image: ['login', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    points: {
      claim:
        'every firmware met every number of vCPUs and both ways of booting; a TD has one CPU model, the host',
      basis: 'rehearsed',
    },
    agree: {
      claim: 'predicted and rehearsed MRTD are equal at every point of the matrix',
      basis: 'rehearsed',
    },
    pages: { claim: 'so is every page, by its place, type and contents', basis: 'rehearsed' },
    distinct: {
      claim: 'control: the firmware changes MRTD; the number of vCPUs and the kernel do not',
      basis: 'rehearsed',
    },
    contents: {
      claim: 'control: with one bit of the firmware changed they differ, in that',
      basis: 'rehearsed',
    },
    dropped: { claim: 'control: with a range of memory not added they differ, in that', basis: 'rehearsed' },
    hardware: {
      claim: 'the quote of a guest that was launched on the hardware has the predicted MRTD',
      requires: 'hardware',
    },
  },
  run: async (lab) => {
    const axes = {
      firmware: ['ovmf-combined', 'ovmf-amdsev', 'ovmf-inteltdx'],
      vcpus: [1, 4],
      kernel: ['none', 'uki'],
    } as const
    const launches = await lab.launches('tdx', axes)
    lab.claim('points', { expected: 3 * 2 * 2, got: launches.points })
    lab.claim('agree', { expected: launches.predicted, got: launches.rehearsed })
    lab.claim('pages', { expected: {}, got: launches.differences })
    lab.claim('distinct', { expected: 3, got: launches.distinct })
    lab.claim('contents', {
      expected: { agree: false, difference: 'extended 0xffc84000+0x37c000 has other contents' },
      got: launches.control('contents-changed'),
    })
    lab.claim('dropped', {
      expected: { agree: false, difference: 'added 0x800000+0x6000 was not measured' },
      got: launches.control('page-dropped'),
    })

    const real = await lab.launchHere('tdx')
    if ('skipped' in real) lab.skip('hardware', real.skipped)
    else lab.claim('hardware', { expected: real.predicted, got: real.measured })
  },
})
