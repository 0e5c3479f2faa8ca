package manager

import (
	"context"

	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// descriptor is a controller that can be switched on and off.
type descriptor struct {
	name string
	// aliases are names that it had before.
	aliases []string
	// off says that it runs only if it is asked for.
	off bool
	// make makes the controller, with its informers. What it returns runs it, until its context ends. Without it the controller runs
	// elsewhere: it asks On.
	make func(context.Context, *environment) (func(context.Context), error)
}

// descriptors are all controllers, in the order in which they start.
func descriptors() []descriptor {
	return []descriptor{
		{name: names.ServiceAccountController, aliases: []string{"serviceaccount"}, make: newServiceAccounts},
		{name: names.RootCACertificatePublisherController, aliases: []string{"root-ca-cert-publisher"}, make: newRootCAPublisher},
		{name: names.ServiceAccountTokenController, aliases: []string{"serviceaccount-token"}, make: newTokens},
		{name: names.NamespaceController, aliases: []string{"namespace"}, make: newNamespaces},
		{name: names.GarbageCollectorController, aliases: []string{"garbagecollector"}, make: newGarbageCollector},
		{name: names.ResourceQuotaController, aliases: []string{"resourcequota"}, make: newResourceQuota},
		{name: names.StorageVersionMigratorController, aliases: []string{"svm"}, make: newMigrator}, // after the garbage collector
		{name: names.PersistentVolumeClaimProtectionController, aliases: []string{"pvc-protection"}, make: newClaimProtection},
		{name: names.PersistentVolumeProtectionController, aliases: []string{"pv-protection"}, make: newVolumeProtection},
		{name: names.ClusterRoleAggregationController, aliases: []string{"clusterrole-aggregation"}}, // controllers.ClusterRoleAggregation

		{name: names.DeploymentController, aliases: []string{"deployment"}, off: true, make: newDeployments},
		{name: names.ReplicaSetController, aliases: []string{"replicaset"}, off: true, make: newReplicaSets},
		{name: names.ReplicationControllerController, aliases: []string{"replicationcontroller"}, off: true, make: newReplicationControllers},
		{name: names.StatefulSetController, aliases: []string{"statefulset"}, off: true, make: newStatefulSets},
		{name: names.DaemonSetController, aliases: []string{"daemonset"}, off: true, make: newDaemonSets},
		{name: names.JobController, aliases: []string{"job"}, off: true, make: newJobs},
		{name: names.CronJobController, aliases: []string{"cronjob"}, off: true, make: newCronJobs},
		{name: names.TTLAfterFinishedController, aliases: []string{"ttl-after-finished"}, off: true, make: newTTLAfterFinished},
		{name: names.HorizontalPodAutoscalerController, aliases: []string{"horizontalpodautoscaling"}, off: true, make: newAutoscaling},
		{name: names.EndpointsController, aliases: []string{"endpoint"}, off: true, make: newEndpoints},
		{name: names.EndpointSliceController, aliases: []string{"endpointslice"}, off: true, make: newEndpointSlices},
		{name: names.EndpointSliceMirroringController, aliases: []string{"endpointslicemirroring"}, off: true, make: newMirroring},
		{name: names.DisruptionController, aliases: []string{"disruption"}, off: true, make: newDisruption},
		{name: names.CertificateSigningRequestApprovingController, aliases: []string{"csrapproving"}, off: true, make: newApproving},
		{name: names.CertificateSigningRequestSigningController, aliases: []string{"csrsigning"}, off: true, make: newSigning},
		{name: names.CertificateSigningRequestCleanerController, aliases: []string{"csrcleaner"}, off: true, make: newCleaner},
	}
}
