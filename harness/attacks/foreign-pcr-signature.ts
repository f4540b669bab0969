import type { Attack } from './attack.ts'

export const foreignPcrSignature: Attack = {
  id: 'foreign-pcr-signature',
  seam: 'esp',
  interference: 'somebody with the db key but not the PCR key builds a UKI with a PCR signature of their own',
  detectedBy: 'the TPM policy: the enrolled key signed no PCR 11 of this UKI',
  apply: async (victim) => {
    await victim.replaceUki(await victim.buildUki({ pcrSignedBy: 'pcr-other' }))
  },
}
