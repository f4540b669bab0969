/** TPM_CC, by value: TPM 2.0 Library Specification, part 2 "Structures", 6.5.2. `_` marks a value not assigned. */
const FIRST = 0x11f
const NAMES = `
NV_UndefineSpaceSpecial EvictControl HierarchyControl NV_UndefineSpace _ ChangeEPS ChangePPS Clear ClearControl
ClockSet HierarchyChangeAuth NV_DefineSpace PCR_Allocate PCR_SetAuthPolicy PP_Commands SetPrimaryPolicy
FieldUpgradeStart ClockRateAdjust CreatePrimary NV_GlobalWriteLock GetCommandAuditDigest NV_Increment NV_SetBits
NV_Extend NV_Write NV_WriteLock DictionaryAttackLockReset DictionaryAttackParameters NV_ChangeAuth PCR_Event
PCR_Reset SequenceComplete SetAlgorithmSet SetCommandCodeAuditStatus FieldUpgradeData IncrementalSelfTest SelfTest
Startup Shutdown StirRandom ActivateCredential Certify PolicyNV CertifyCreation Duplicate GetTime
GetSessionAuditDigest NV_Read NV_ReadLock ObjectChangeAuth PolicySecret Rewrap Create ECDH_ZGen HMAC Import Load
Quote RSA_Decrypt _ HMAC_Start SequenceUpdate Sign Unseal _ PolicySigned ContextLoad ContextSave ECDH_KeyGen
EncryptDecrypt FlushContext _ LoadExternal MakeCredential NV_ReadPublic PolicyAuthorize PolicyAuthValue
PolicyCommandCode PolicyCounterTimer PolicyCpHash PolicyLocality PolicyNameHash PolicyOR PolicyTicket ReadPublic
RSA_Encrypt _ StartAuthSession VerifySignature ECC_Parameters FirmwareRead GetCapability GetRandom GetTestResult
Hash PCR_Read PolicyPCR PolicyRestart ReadClock PCR_Extend PCR_SetAuthValue NV_Certify EventSequenceComplete
HashSequenceStart PolicyPhysicalPresence PolicyDuplicationSelect PolicyGetDigest TestParms Commit PolicyPassword
ZGen_2Phase EC_Ephemeral PolicyNvWritten PolicyTemplate CreateLoaded PolicyAuthorizeNV EncryptDecrypt2
AC_GetCapability AC_Send Policy_AC_SendSelect CertifyX509 ACT_SetTimeout ECC_Encrypt ECC_Decrypt
`
  .trim()
  .split(/\s+/)

/** `TPM2_Unseal` for 0x15e; undefined for a value that has no command. */
export function tpmCommandName(code: number): string | undefined {
  const name = NAMES[code - FIRST]
  return name === undefined || name === '_' ? undefined : `TPM2_${name}`
}
