package catalog

// All is every cluster test, in the order in which they run on a user's own cluster.
func All() []Test {
	return []Test{
		{Name: "TestTestbed", Suite: Testbed, Functions: []string{
			"TestNames", "TestUnknownImageFailsAtOnce", "TestSharedVolumesAreOneOnAllNodes", "TestLocalVolumesStayOnTheirNode",
			"TestLocalClassRefusesManyNodes", "TestNodePortsAnswerOnEveryNode", "TestNetworkPolicies", "TestPoliciesFollowChanges",
		}, Cost: 45, Needs: Needs{Testbed: true}},
		// Their testbed has one name, so they run one after the other.
		{Name: "TestLifetime", Suite: Lifetime, Functions: []string{
			"TestUpAndDown", "TestKilledUp", "TestTwoSideBySide", "TestRefusals", "TestOnlyRootMay", "TestForeignRouteIsRefused",
		}, Cost: 230, Needs: Needs{None: true, Testbed: true}},

		{Name: "TestTheDoubleAnswersLikeTheAPIServer", Suite: Platform, Cost: 5},
		{Name: "TestRefusalsOfTheDoubleAreReal", Suite: Platform, Cost: 5},
		{Name: "TestObjectsAreAccepted", Suite: Platform, Cost: 110},
		{Name: "TestBackup", Suite: Platform, Cost: 330},
		{Name: "TestBackupFromACopy", Suite: Platform, Cost: 170},
		{Name: "TestBootstrapKilledAndDoubled", Suite: Platform, Cost: 130},
		{Name: "TestChartTesting/default", Suite: Platform, Sub: "./^default$", Cost: 520},
		{Name: "TestChartTesting/ingress", Suite: Platform, Sub: "./^ingress$", Cost: 130},
		// CI_VALUES names more than these two, and may name all of them.
		{Name: "TestChartTesting/others", Suite: Platform, Rest: true, Cost: 130},
		{Name: "TestFaults", Suite: Platform, Cost: 850, Needs: Needs{Breaks: true}},
		{Name: "TestGitOps", Suite: Platform, Cost: 195},
		{Name: "TestLifecycle", Suite: Platform, Cost: 770},
		{Name: "TestFrom010", Suite: Platform, Cost: 370},
		{Name: "TestFrom010Everything", Suite: Platform, Cost: 350},
		{Name: "TestFrom010GitOps", Suite: Platform, Cost: 320},
		{Name: "TestHelm3", Suite: Platform, Cost: 420},
		{Name: "TestFailingFirstMigration", Suite: Platform, Cost: 110},
		{Name: "TestModules", Suite: Platform, Cost: 230},
		{Name: "TestOperatorAlreadyThere", Suite: Platform, Cost: 290},
		{Name: "TestLeastRoles", Suite: Platform, Cost: 480, Needs: Needs{Audit: true}},
		{Name: "TestInstallRefused", Suite: Platform, Cost: 120},
		{Name: "TestHookImageNotPullable", Suite: Platform, Cost: 45},
		{Name: "TestWaysIn", Suite: Platform, Cost: 305},
		{Name: "TestPreflightNamesWhatIsWrong", Suite: Platform, Cost: 35},
		{Name: "TestPreflightReadsOnly", Suite: Platform, Cost: 90},
		{Name: "TestProbesOnBrokenCluster", Suite: Platform, Cost: 80, Needs: Needs{Nodes: 3, Testbed: true}},
		{Name: "TestProbesThatCannotStart", Suite: Platform, Cost: 35, Needs: Needs{Testbed: true}},
		{Name: "TestPreflightOnGoodCluster", Suite: Platform, Cost: 30},
		{Name: "TestPreflightInterrupted", Suite: Platform, Cost: 10},
		{Name: "TestReadingChecksOnGoodCluster", Suite: Platform, Cost: 5},
		{Name: "TestProbesOnGoodCluster", Suite: Platform, Cost: 30, Needs: Needs{Testbed: true}},
		{Name: "TestProbesInterrupted", Suite: Platform, Cost: 20},
	}
}
