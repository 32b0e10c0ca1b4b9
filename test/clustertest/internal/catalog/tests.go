package catalog

// All is every cluster test, in the order in which they run on a user's own cluster.
func All() []Test {
	return []Test{
		{Name: "TestTestbed", Suite: Testbed, Functions: []string{
			"TestNames", "TestUnknownImageFailsAtOnce", "TestSharedVolumesAreOneOnAllNodes", "TestLocalVolumesStayOnTheirNode",
			"TestLocalClassRefusesManyNodes", "TestNodePortsAnswerOnEveryNode", "TestNetworkPolicies", "TestPoliciesFollowChanges",
		}, Cost: 60, Needs: Needs{Testbed: true}},
		// Their testbed has one name, so they run one after the other.
		{Name: "TestLifetime", Suite: Lifetime, Functions: []string{
			"TestUpAndDown", "TestKilledUp", "TestTwoSideBySide", "TestRefusals", "TestOnlyRootMay", "TestForeignRouteIsRefused",
		}, Cost: 360, Needs: Needs{None: true, Testbed: true}},

		{Name: "TestTheDoubleAnswersLikeTheAPIServer", Suite: Platform, Cost: 10},
		{Name: "TestRefusalsOfTheDoubleAreReal", Suite: Platform, Cost: 10},
		{Name: "TestObjectsAreAccepted", Suite: Platform, Cost: 60},
		{Name: "TestBackup", Suite: Platform, Cost: 240},
		{Name: "TestBootstrapKilledAndDoubled", Suite: Platform, Cost: 120},
		{Name: "TestChartTesting/default", Suite: Platform, Sub: "./^default$", Cost: 260},
		{Name: "TestChartTesting/ingress", Suite: Platform, Sub: "./^ingress$", Cost: 100},
		// CI_VALUES names more than these two, and may name all of them.
		{Name: "TestChartTesting/others", Suite: Platform, Rest: true, Cost: 100},
		{Name: "TestFaults", Suite: Platform, Cost: 474, Needs: Needs{Breaks: true}},
		{Name: "TestGitOps", Suite: Platform, Cost: 120},
		{Name: "TestLifecycle", Suite: Platform, Cost: 416},
		{Name: "TestFrom010", Suite: Platform, Cost: 300},
		{Name: "TestFrom010Everything", Suite: Platform, Cost: 300},
		{Name: "TestFrom010GitOps", Suite: Platform, Cost: 250},
		{Name: "TestHelm3", Suite: Platform, Cost: 180},
		{Name: "TestFailingFirstMigration", Suite: Platform, Cost: 60},
		{Name: "TestModules", Suite: Platform, Cost: 240},
		{Name: "TestOperatorAlreadyThere", Suite: Platform, Cost: 240},
		{Name: "TestLeastRoles", Suite: Platform, Cost: 300, Needs: Needs{Audit: true}},
		{Name: "TestInstallRefused", Suite: Platform, Cost: 90},
		{Name: "TestHookImageNotPullable", Suite: Platform, Cost: 40},
		{Name: "TestWaysIn", Suite: Platform, Cost: 180},
		{Name: "TestPreflightNamesWhatIsWrong", Suite: Platform, Cost: 60},
		{Name: "TestPreflightReadsOnly", Suite: Platform, Cost: 100},
		{Name: "TestProbesOnBrokenCluster", Suite: Platform, Cost: 100, Needs: Needs{Nodes: 3, Testbed: true}},
		{Name: "TestProbesThatCannotStart", Suite: Platform, Cost: 60, Needs: Needs{Testbed: true}},
		{Name: "TestPreflightOnGoodCluster", Suite: Platform, Cost: 60},
		{Name: "TestPreflightInterrupted", Suite: Platform, Cost: 20},

		{Name: "TestPreflightReadsQuickly", Suite: Platform, Cost: 10, Needs: Needs{Alone: true}},
		{Name: "TestProbesOnGoodCluster", Suite: Platform, Cost: 60, Needs: Needs{Testbed: true, Alone: true}},
		{Name: "TestProbesInterrupted", Suite: Platform, Cost: 20, Needs: Needs{Alone: true}},
	}
}
