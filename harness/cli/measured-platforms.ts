/** Platforms whose launch is measured, as the commands about it name them. */

export const SEV_FAMILY = [
  ['sev', 'an SEV guest'],
  ['sev-es', 'an SEV-ES guest'],
  ['sev-snp', 'an SEV-SNP guest (report field MEASUREMENT)'],
] as const

export type SevPlatform = (typeof SEV_FAMILY)[number][0]

export const REHEARSED = [...SEV_FAMILY, ['tdx', 'a TDX guest (MRTD)']] as const

export type RehearsedPlatform = (typeof REHEARSED)[number][0]
