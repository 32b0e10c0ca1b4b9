package chart_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// defect is one of the 51 that the shell installer of the platform has. Either tests show that this packaging has not, or
// there is nothing here that could have it.
type defect struct {
	what  string
	tests []string
	never string
}

// defects are numbered from 1 on.
var defects = []defect{
	{what: "an install goes on without its database, and looks for it by a fixed name", tests: []string{"TestServicesWaitForTheirSchema", "TestWaitForSQL", "TestPrefixReachesEveryName"}},
	{what: "names that ignore the prefix", tests: []string{"TestPrefixReachesEveryName", "TestReferencesLeadSomewhere"}},
	{what: "failed rollouts end in success", tests: []string{"TestLifecycle", "TestHookImageNotPullable", "TestInstallRefused"}},
	{what: "every run restarts every service", tests: []string{"TestLifecycle", "TestUpgradeAppliesTheSame", "TestNoImageFloats"}},
	{what: "runner and scheduler start before the control plane", tests: []string{"TestServicesStartInOrder"}},
	{what: "what others manage is overwritten by force", tests: []string{"TestMakesWhatIsMissingOnce", "TestPullSecretOfSomebodyElseStays", "TestClaimKeepsWhatCannotChange"}},
	{what: "errors that nobody sees", tests: []string{"TestTerminationMessage", "TestInstallRefused"}},
	{what: "values run by a shell, unquoted in YAML and URLs", tests: []string{"FuzzValidValues", "TestMakesWhatIsMissingOnce", "TestDirectoryIsDescribed"}},
	{what: "placeholders, ports, sizes and addresses that nobody checks", tests: []string{"TestBadValuesAreNamed", "FuzzBrokenValues", "TestRefusals"}},
	{what: "the administrator's password in a Job's arguments", tests: []string{"TestNoSecretStandsInAnObject", "TestMasks"}},
	{what: "seed Jobs without limits, deadlines or order", tests: []string{"TestJobs", "TestEveryContainerHasResources", "TestSeedsRunOnce"}},
	{what: "a failed Job is waited for to the end", tests: []string{"TestJobs", "TestFailingStatementIsNamed", "TestLifecycle"}},
	{what: "no check beforehand, no lock, no migration before the upgrade", tests: []string{"TestInstallRefused", "TestTwoRunsAtOnce", "TestMigratesADatabaseThatRuns"}},
	{what: "secrets in files on disk", tests: []string{"TestNoSecretStandsInAnObject"}},
	{what: "a rotated registry password is ignored", tests: []string{"TestPullSecretsReachEveryPod", "TestPullSecretOfSomebodyElseStays"}},
	{what: "pull secrets put onto the default ServiceAccount", tests: []string{"TestPullSecretsReachEveryPod"}},
	{what: "no switch for the relay", tests: []string{"TestRelayElsewhere"}},
	{what: "a relay that is not ready is a warning", tests: []string{"TestPortsAndProbes", "TestSelfTestReachesEveryService"}},
	{what: "a StorageClass taken by its name alone", tests: []string{"TestResolveStorageClass", "TestInstallRefused"}},
	{what: "the operator's chart without a version, applied by force", tests: []string{"TestVersionIsTheOnePinned", "TestOperatorAlreadyThere"}},
	{what: "the operator fetched at install time", tests: []string{"TestOperatorIsOptional", "TestVersionIsTheOnePinned"}},
	{what: "modules that are turned off leave things behind", tests: []string{"TestModulesThatAreOffLeaveNothing"}},
	{what: "browsers without sandboxes", tests: []string{"TestBadValuesAreNamed"}},
	{what: "addresses of modules that are off", tests: []string{"TestAbsentModulesAreNotAnnounced", "TestPublicURLs"}},
	{what: "an example that pins the agents' registry", tests: []string{"TestRegistryMovesEveryImage"}},
	{what: "a default StorageClass that few clusters have", tests: []string{"TestClusterLeavesTheClassToTheClusterByDefault", "TestResolveStorageClass", "TestInstallRefused"}},
	{what: "versions in the documentation that do not exist", tests: []string{"TestImagesAreTheBillOfMaterials"}},
	{what: "one tag for images of several versions", tests: []string{"TestImagesAreTheBillOfMaterials"}},
	{what: "a file of secrets that becomes readable", never: "no file of secrets is written: the hooks make Secrets in the cluster (TestNoSecretStandsInAnObject)"},
	{what: "a single node without shared volumes or modules", tests: []string{"TestResolveStorageClass", "TestHelm3"}},
	{what: "an update deletes local edits", never: "there is no tree of manifests to edit: settings are values, which Helm keeps"},
	{what: "a script piped from the network into a shell", never: "Helm installs a chart of a version; nothing is piped into a shell"},
	{what: "the administrator's password on the terminal", tests: []string{"TestNotes", "TestMasks"}},
	{what: "installs that can't be repeated", tests: []string{"TestNoImageFloats", "TestRendersAreEqual", "TestImagesAreTheBillOfMaterials"}},
	{what: "a list of images for the air gap that ignores the registry", tests: []string{"TestRegistryMovesEveryImage", "TestDigestPinsAnImage"}},
	{what: "an image that is missing from a mirror is a warning", tests: []string{"TestHookImageNotPullable"}},
	{what: "an administrator's kubeconfig that everybody reads", never: "no node is prepared: the cluster is the operator's; that no pod gets a kubeconfig, TestNoPodGetsAKubeconfig shows"},
	{what: "an address that is not set is skipped with a warning", tests: []string{"TestNotes", "TestBadValuesAreNamed"}},
	{what: "no security contexts, NetworkPolicies or tokens kept away", tests: []string{"TestPodsAreRestricted", "TestPoliciesIsolateEveryPod", "TestTokensOnlyWhereRightsAreUsed"}},
	{what: "no probes, no resources", tests: []string{"TestPortsAndProbes", "TestEveryContainerHasResources"}},
	{what: "rights that are too many, and too few", tests: []string{"TestServicesHaveTheRightsTheyUse", "TestNothingThatStaysReadsSecrets"}},
	{what: "two blocks of variables kept alike by hand", tests: []string{"TestCouplingsAgree"}},
	{what: "a variable that nothing reads", tests: []string{"TestRequiredEnvironment"}},
	{what: "a database with too few connections and no backup", tests: []string{"TestConnectionsSuffice", "TestClusterIsComplete"}},
	{what: "a relay with its secret in its arguments, open to the cluster's network", tests: []string{"TestRelayReadsItsSecretFromAFile", "TestRelayRelaysIntoNoPrivateNetwork"}},
	{what: "SQLite on a file server, by an image that floats", tests: []string{"TestDataOutlivesTheRelease", "TestPortsAndProbes"}},
	{what: "constants for keys, services without a log-in, cookies without Secure", tests: []string{"TestRequiredEnvironment", "TestPoliciesAdmitWhatIsNeededAndNothingElse", "TestOnlyPublicPathsAreRouted"}},
	{what: "documented rights with which nothing can be installed", tests: []string{"TestServicesHaveTheRightsTheyUse", "TestHooksBringWhatTheyNeed"}},
	{what: "two addresses for one script", never: "there is no script to fetch"},
	{what: "a second chart whose names collide and whose images do not exist", tests: []string{"TestImagesAreTheBillOfMaterials", "TestClusterScopedNamesCarryTheNamespace"}},
	{what: "files that are left over, images built from what floats", never: "a matter of how the platform's images are built"},
}

// TestDefectsHaveTests sees that the table above names tests that exist.
func TestDefectsHaveTests(t *testing.T) {
	if len(defects) != 51 {
		t.Errorf("%d defects, want 51", len(defects))
	}
	known := testFunctions(t, filepath.Join("..", ".."))
	for i, d := range defects {
		if (len(d.tests) == 0) == (d.never == "") {
			t.Errorf("defect %d, %s: want tests, or a reason why there are none", i+1, d.what)
		}
		for _, name := range d.tests {
			if !slices.Contains(known, name) {
				t.Errorf("defect %d, %s: there is no %s", i+1, d.what, name)
			}
		}
	}
}

// testFunctions are the names of all tests of this repository.
func testFunctions(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." || entry.Name() == "bin") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil {
				names = append(names, f.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
