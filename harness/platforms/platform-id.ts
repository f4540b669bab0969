/** Best first: the order in which a platform is chosen where the user named none. */
export const PLATFORM_IDS = ['sev-snp', 'tdx', 'sev-es', 'sev', 'kvm', 'tcg'] as const
export type PlatformId = (typeof PLATFORM_IDS)[number]
