"""The functions of template.yaml on one machine, behind a gateway that behaves as API Gateway and Lambda do."""
