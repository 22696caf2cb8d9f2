"""What experiments share, and parts of one that would make its file too long.

Shared are `sizes` (what `--size` sets), `work` (what a run costs), `kept` and `records`
(rows), `claims` (the published), `tables` and `page`. Of one are `hours` and `overview`
(everything), `timed` (speed, accelerator), `bills`, `carried` and `lines` (chen2021),
`overlaps`, `recognisers` and `scenes` (girish2021), `landscapes` (jaiswal2021),
`efforts` (savarese2020), `federated` (seo2021), `two_layers` (wolfe2021, and its
theory) and `draws` (you2020). `pack` is a command.
"""
