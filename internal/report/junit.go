package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/neutree-ai/packaging/internal/preflight"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Error   *junitMessage `xml:"error"`
	Skipped *junitMessage `xml:"skipped"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// writeJUnit makes a suite of each topic. JUnit has no warnings: a check that only warns is a passed case with output.
func writeJUnit(to io.Writer, document Document) error {
	all := junitSuites{
		Name: "preflight of " + document.Chart, Tests: len(document.Results), Failures: document.Summary.Failed, Errors: document.Summary.Unproved,
		Skipped: document.Summary.Skipped, Time: fmt.Sprintf("%.3f", document.Summary.Seconds),
	}
	for _, topic := range document.topics() {
		suite := junitSuite{Name: topic}
		for _, result := range document.Results {
			if result.Topic != topic {
				continue
			}
			suite.Tests++
			one := junitCase{Class: "preflight." + topic, Name: result.ID, Time: fmt.Sprintf("%.3f", result.Seconds)}
			text := junitText(result)
			switch result.Status {
			case preflight.Failed:
				suite.Failures++
				one.Failure = &junitMessage{Message: result.Findings[0].Found, Type: "error", Text: text}
			case preflight.Unproved:
				suite.Errors++
				one.Error = &junitMessage{Message: result.Reason, Text: text}
			case preflight.Skipped:
				suite.Skipped++
				one.Skipped = &junitMessage{Message: result.Reason}
			default:
				one.Output = text
			}
			suite.Cases = append(suite.Cases, one)
		}
		all.Suites = append(all.Suites, suite)
	}
	if _, err := io.WriteString(to, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(to)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(to, "\n")
	return err
}

func junitText(result Result) string {
	var b strings.Builder
	for _, finding := range result.Findings {
		fmt.Fprintf(&b, "%s: %s\n", finding.Severity, finding.Found)
		for _, line := range detail(finding) {
			fmt.Fprintf(&b, "  %s: %s\n", line.name, line.text)
		}
	}
	if b.Len() > 0 || result.Status == preflight.Unproved {
		fmt.Fprintf(&b, "see %s\n", result.Link)
	}
	return b.String()
}
