/** The key broker: Trustee's KBS protocol 0.4.0 over HTTPS, with an appraisal policy for each resource. */
export { memoryLog } from './audit/memory-log.ts'
export type { AttestRecord, AuditLog, AuditRecord, ResourceRecord } from './audit/record.ts'
export type { BrokerLimits } from './limits.ts'
export type { Delivery, ReleasePolicy } from './release-policy.ts'
export { type Broker, type BrokerOptions, startBroker } from './server.ts'
export { makeServerCertificate, type ServerCertificate } from './server-certificate.ts'
export { memoryStore, type ResourceStore } from './store/resource-store.ts'
