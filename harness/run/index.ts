/** The public surface of the harness: what a scenario may import, and nothing else of ours. */

export type { Attack } from '../attacks/attack.ts'
export { changedBlock, changedText, newHashTree } from '../attacks/changed-disk.ts'
export { extraDbKey } from '../attacks/extra-db-key.ts'
export { foreignPcrSignature } from '../attacks/foreign-pcr-signature.ts'
export { foreignVtpm } from '../attacks/foreign-vtpm.ts'
export { injectCommandLine } from '../attacks/inject-command-line.ts'
export { modifiedUki } from '../attacks/modified-uki.ts'
export { rollBackVtpm } from '../attacks/roll-back-vtpm.ts'
export { fakeExtends, recordExtends } from '../attacks/tpm-bus.ts'
export { PLAIN_MARKER } from '../materials/plain-disk.ts'
export type { TeeFault } from '../platforms/emulated/processor.ts'
export { explainDifference } from '../verdict/measured-boot.ts'
export type { Attestation, ExchangeSummary } from './attest/exchanges.ts'
export { cutWhileEncrypting, type EncryptionCut, firstBootSteps } from './attest/first-boot.ts'
export { holdsSecret } from './attest/held-secret.ts'
export { alterRoot, headerDigest, type KeptRoot, markersIn, rootDigest } from './attest/kept-root.ts'
export type { AtTheEnd, LabBroker, Release } from './attest/lab-broker.ts'
export type { OwnersWishes } from './attest/owners-policy.ts'
export { plantCanary } from './attest/planted-canary.ts'
export type { Relay } from './attest/relay.ts'
export { type CorruptedBlock, corruptedBlocks, userlandOf } from './attest/verity-words.ts'
export { sayToVtpm } from './attest/vtpm-canary.ts'
export type { Boot } from './boot.ts'
export { compareBoot } from './boot-comparison.ts'
export { collectEvidence, freshNonce, portErrors, type TsmReport } from './collect-evidence.ts'
export { credentialOutcomes, gotSecret, mergeAlone, refusedAddons } from './companion-words.ts'
export type { Companion } from './companions.ts'
export {
  alterFile,
  buildAddon,
  buildExtension,
  certificateOf,
  changeBoot,
  chooseProfile,
  freshTlsIdentity,
  giveIdentity,
  graftSignature,
  interceptTls,
  keepRoot,
  observeBoot,
  ownersPolicy,
  placeCompanions,
  predictBoot,
  privateKeyOf,
  putRoot,
  readMachineTables,
  recordPowerCuts,
  referencePolicy,
  sealCredential,
  signedProfiles,
  useService,
  useServiceUnbound,
  verifyTeeEvidence,
} from './deferred.ts'
export type { LabGuest } from './guest.ts'
export type { HardwareLaunch } from './hardware-launch.ts'
export type { Lab } from './lab.ts'
export type { LaunchAxes, LaunchControl, LaunchMatrix } from './launch-matrix.ts'
export type { MachineTables } from './observed-boot.ts'
export { nothingCameUp } from './own-ends.ts'
export type { BrokenState, PowerCutReport, RecordedPowerCuts } from './power-cut/power-cut.ts'
export { defineScenario, type Scenario, type ScenarioDefinition } from './scenario.ts'
export { type Canary, freshCanary } from './secrets.ts'
export { awaitRefusal, bootNextOf, offerThroughShim, pressOnAfterRefusal } from './shim.ts'
export type { SlotUki } from './slots.ts'
export type { VmTee } from './tee.ts'
export type { TeeVerdict } from './tee-evidence.ts'
export type { BootEnding, BootRecord } from './timeline.ts'
export { resetOnce, type Trial, tryUpdate } from './trial.ts'
export { REFUSED_BY_TPM, UNLOCKED_BY_BROKER, UNLOCKED_BY_TPM, type Unlock } from './unlock.ts'
export type { UnlockWhy } from './unlock-reasons.ts'
export type { ScenarioVm } from './vm.ts'
export type { VmOptions } from './vm-options.ts'
