package agent

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// Lost says what of the URLs in the platform's database a NetworkPolicy keeps workspaces from. It changes nothing.
type Lost struct {
	// Variable of the environment that holds the database's URL.
	Variable string `json:"variable"`
	// Namespace is the platform's own.
	Namespace string                         `json:"namespace"`
	Policy    networkingv1.NetworkPolicySpec `json:"policy"`
	Families  egress.Families                `json:"families"`
}

const (
	// LostCount counts what the policy cuts. Up to maxLost sentences on that are facts, named by numbers from 0.
	LostCount = "count"
	maxLost   = maxFacts - 4
)

func (l *Lost) run(ctx context.Context, facts Facts) error {
	ctx, cancel := context.WithTimeout(ctx, 25*time.Second)
	defer cancel()
	conn, err := migrate.Connect(ctx, os.Getenv(l.Variable))
	if err != nil {
		return errors.New(migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	policy := &networkingv1.NetworkPolicy{Spec: l.Policy}
	lost, err := egress.Lost(ctx, conn, l.Namespace, policy, l.Families)
	if err != nil {
		return errors.New(migrate.Reason(err))
	}
	facts[LostCount] = strconv.Itoa(len(lost))
	for i, sentence := range lost[:min(len(lost), maxLost)] {
		facts[strconv.Itoa(i)] = sentence
	}
	return nil
}

// LostIn are the sentences in the facts of Lost, and how many more there are.
func LostIn(facts Facts) (sentences []string, more int) {
	for facts[strconv.Itoa(len(sentences))] != "" {
		sentences = append(sentences, facts[strconv.Itoa(len(sentences))])
	}
	count, err := strconv.Atoi(facts[LostCount])
	if err != nil {
		return sentences, 0
	}
	return sentences, max(0, count-len(sentences))
}
