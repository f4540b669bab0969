/**
 * Start-up time: what only some scenarios call, and what is loaded when one does. Every scenario imports the public
 * surface, and these bring a quarter of all modules with them.
 */
import type * as Service from './attest/attested-service.ts'
import type * as Interceptor from './attest/interceptor.ts'
import type * as Owner from './attest/owners-policy.ts'
import type * as PlainRoot from './attest/plain-root.ts'
import type * as Prediction from './boot-prediction.ts'
import type * as Change from './change-boot.ts'
import type * as Files from './companion-files.ts'
import type * as Companions from './companions.ts'
import type * as Observed from './observed-boot.ts'
import type * as PowerCut from './power-cut/power-cut.ts'
import type * as Profiles from './profiles.ts'
import type * as TeeEvidence from './tee-evidence.ts'

export const predictBoot: typeof Prediction.predictBoot = async (...given) =>
  (await import('./boot-prediction.ts')).predictBoot(...given)

export const changeBoot: typeof Change.changeBoot = async (...given) =>
  (await import('./change-boot.ts')).changeBoot(...given)

export const alterFile: typeof Files.alterFile = async (...given) =>
  (await import('./companion-files.ts')).alterFile(...given)

export const buildAddon: typeof Files.buildAddon = async (...given) =>
  (await import('./companion-files.ts')).buildAddon(...given)

export const buildExtension: typeof Files.buildExtension = async (...given) =>
  (await import('./companion-files.ts')).buildExtension(...given)

export const graftSignature: typeof Files.graftSignature = async (...given) =>
  (await import('./companion-files.ts')).graftSignature(...given)

export const sealCredential: typeof Files.sealCredential = async (...given) =>
  (await import('./companion-files.ts')).sealCredential(...given)

export const placeCompanions: typeof Companions.placeCompanions = async (...given) =>
  (await import('./companions.ts')).placeCompanions(...given)

export const observeBoot: typeof Observed.observeBoot = async (...given) =>
  (await import('./observed-boot.ts')).observeBoot(...given)

export const readMachineTables: typeof Observed.readMachineTables = async (...given) =>
  (await import('./observed-boot.ts')).readMachineTables(...given)

export const recordPowerCuts: typeof PowerCut.recordPowerCuts = async (...given) =>
  (await import('./power-cut/power-cut.ts')).recordPowerCuts(...given)

export const chooseProfile: typeof Profiles.chooseProfile = async (...given) =>
  (await import('./profiles.ts')).chooseProfile(...given)

export const signedProfiles: typeof Profiles.signedProfiles = async (...given) =>
  (await import('./profiles.ts')).signedProfiles(...given)

export const keepRoot: typeof PlainRoot.keepRoot = async (...given) =>
  (await import('./attest/plain-root.ts')).keepRoot(...given)

export const putRoot: typeof PlainRoot.putRoot = async (...given) =>
  (await import('./attest/plain-root.ts')).putRoot(...given)

export const ownersPolicy: typeof Owner.ownersPolicy = async (...given) =>
  (await import('./attest/owners-policy.ts')).ownersPolicy(...given)

export const referencePolicy: typeof TeeEvidence.referencePolicy = async (...given) =>
  (await import('./tee-evidence.ts')).referencePolicy(...given)

export const verifyTeeEvidence: typeof TeeEvidence.verifyTeeEvidence = async (...given) =>
  (await import('./tee-evidence.ts')).verifyTeeEvidence(...given)

export const freshTlsIdentity: typeof Interceptor.freshTlsIdentity = async (...given) =>
  (await import('./attest/interceptor.ts')).freshTlsIdentity(...given)

export const interceptTls: typeof Interceptor.interceptTls = async (...given) =>
  (await import('./attest/interceptor.ts')).interceptTls(...given)

export const certificateOf: typeof Service.certificateOf = async (...given) =>
  (await import('./attest/attested-service.ts')).certificateOf(...given)

export const giveIdentity: typeof Service.giveIdentity = async (...given) =>
  (await import('./attest/attested-service.ts')).giveIdentity(...given)

export const privateKeyOf: typeof Service.privateKeyOf = async (...given) =>
  (await import('./attest/attested-service.ts')).privateKeyOf(...given)

export const useService: typeof Service.useService = async (...given) =>
  (await import('./attest/attested-service.ts')).useService(...given)

export const useServiceUnbound: typeof Service.useServiceUnbound = async (...given) =>
  (await import('./attest/attested-service.ts')).useServiceUnbound(...given)
