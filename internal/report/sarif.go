package report

import (
	"encoding/json"
	"io"

	"github.com/neutree-ai/packaging/internal/preflight"
)

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool        sarifTool         `json:"tool"`
	Results     []sarifResult     `json:"results"`
	Invocations []sarifInvocation `json:"invocations"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"semanticVersion"`
	URI     string      `json:"informationUri"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID    string    `json:"id"`
	Short sarifText `json:"shortDescription"`
	Help  string    `json:"helpUri"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifInvocation struct {
	Successful    bool                `json:"executionSuccessful"`
	Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Level   string    `json:"level"`
	Message sarifText `json:"message"`
	Rule    sarifRef  `json:"associatedRule"`
}

type sarifRef struct {
	ID string `json:"id"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	Physical sarifPhysical  `json:"physicalLocation"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

type sarifLogical struct {
	Name string `json:"fullyQualifiedName"`
	Kind string `json:"kind"`
}

// writeSARIF makes a rule of each check and a result of each finding. Readers of SARIF show results only at a place in
// a file: that is the chart's values, which is where most are fixed.
func writeSARIF(to io.Writer, document Document) error {
	run := sarifRun{
		Tool:        sarifTool{sarifDriver{Name: "helm-neutree-preflight", Version: document.Tool, URI: document.Docs, Rules: []sarifRule{}}},
		Results:     []sarifResult{},
		Invocations: []sarifInvocation{{Successful: document.Summary.Unproved == 0 && !document.Summary.TimedOut && !document.Summary.Interrupted}},
	}
	for _, result := range document.Results {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: result.ID, Short: sarifText{result.Title}, Help: result.Link})
		if result.Status == preflight.Unproved {
			run.Invocations[0].Notifications = append(run.Invocations[0].Notifications,
				sarifNotification{Level: "error", Message: sarifText{result.Reason}, Rule: sarifRef{result.ID}})
		}
		for _, finding := range result.Findings {
			text := finding.Found
			for _, line := range detail(finding) {
				text += "\n" + line.name + ": " + line.text
			}
			location := sarifLocation{Physical: sarifPhysical{sarifArtifact{"values.yaml"}, sarifRegion{1}}}
			for _, place := range []sarifLogical{{finding.Object, "object"}, {finding.Node, "resource"}, {finding.Value, "property"}} {
				if place.Name != "" {
					location.Logical = append(location.Logical, place)
				}
			}
			run.Results = append(run.Results, sarifResult{RuleID: result.ID, Level: finding.Severity.String(), Message: sarifText{text}, Locations: []sarifLocation{location}})
		}
	}
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}
